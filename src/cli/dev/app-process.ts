import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** The app that `lockstep dev --run` starts beside the cluster. */
export interface AppProcess {
  stop(): Promise<void>;
}

const ADDRESS = /https?:\/\/(?:127\.0\.0\.1|localhost):\d+\S*/;

/**
 * Runs `command` in a shell with `environment` added to this process's. `onAddress` hears the first web address that it prints,
 * `onLine` every line, `onExit` its end when nobody asked for it.
 */
export function startApp(options: {
  readonly command: string;
  readonly databaseUrl: string;
  /** What else its environment has. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly onLine: (line: string) => void;
  readonly onAddress: (url: string) => void;
  readonly onExit: (code: number | null) => void;
}): AppProcess {
  const child: ChildProcess = spawn(options.command, {
    shell: true,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.environment, DATABASE_URL: options.databaseUrl },
  });
  let hasAddress = false;
  let isStopping = false;
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on('line', (line) => {
      options.onLine(line);
      const address = ADDRESS.exec(line)?.[0];
      if (address === undefined || hasAddress) return;
      hasAddress = true;
      options.onAddress(address);
    });
  }
  const exited = new Promise<void>((resolve) => {
    child.on('error', () => resolve());
    child.on('exit', (code) => {
      resolve();
      if (!isStopping) options.onExit(code);
    });
  });
  return {
    async stop() {
      isStopping = true;
      const signalGroup = (signal: NodeJS.Signals): void => {
        try {
          process.kill(-(child.pid ?? 0), signal);
        } catch {
          // It has ended already.
        }
      };
      signalGroup('SIGTERM');
      const timer = setTimeout(() => signalGroup('SIGKILL'), 5_000);
      await exited;
      clearTimeout(timer);
    },
  };
}
