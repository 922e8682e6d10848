import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Runs a system tool and returns what it printed. Throws with its last words. */
export async function runTool(program: string, ...words: string[]): Promise<string> {
  try {
    return (await execute(program, words)).stdout;
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error(`${program} ${words.join(' ')}: ${(stderr ?? '').trim() || message}`, { cause: error });
  }
}

/** For taking down what may be half gone already: a failure means that there was nothing to do. */
export async function tryTool(program: string, ...words: string[]): Promise<string> {
  return runTool(program, ...words).catch(() => '');
}
