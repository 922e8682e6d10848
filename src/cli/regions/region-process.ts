import { spawn } from 'node:child_process';
import { extname, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LockstepError } from '../../model/errors.ts';
import { REGION_IS_READY } from './region-command.ts';

export interface RegionProcess {
  stop(): Promise<void>;
}

const STOP_PATIENCE_MS = 15_000;

/**
 * Starts a region's process, which ends when this one does, and resolves once the region is ready. Throws CONFIG_INVALID
 * with its last words when it ends before.
 */
export async function startRegionProcess(
  stateDir: string,
  region: string,
  onProblem: (problem: string) => void,
): Promise<RegionProcess> {
  const script = fileURLToPath(new URL(`../main${extname(import.meta.url)}`, import.meta.url));
  const words = ['regions', 'run', region, '--state', resolve(stateDir), '--until-stdin-closes'];
  const child = spawn(process.execPath, [script, ...words], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // Ctrl-C in the terminal is for who started it, which stops regions in order.
    detached: true,
  });
  child.stdin.on('error', () => undefined);
  let isExpected = false;
  let lastWords = '';
  createInterface({ input: child.stderr }).on('line', (line) => (lastWords = line));
  const exited = new Promise<void>((done) => child.on('close', () => done()));
  await new Promise<void>((ready, fail) => {
    createInterface({ input: child.stdout }).on('line', (text) => {
      const { state, problem } = JSON.parse(text) as { state?: string; problem?: string };
      if (state === REGION_IS_READY) ready();
      if (problem !== undefined) onProblem(problem);
    });
    child.on('error', fail);
    child.on('close', (code) => {
      const said = lastWords.replace(/^lockstep: /, '') || `its process ended with code ${code}`;
      fail(new LockstepError('CONFIG_INVALID', `Region ${region} did not start: ${said}`));
      if (!isExpected) onProblem(said);
    });
  });
  return {
    async stop() {
      isExpected = true;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}
