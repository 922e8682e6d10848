import { LockstepError } from '../model/errors.ts';

/** An orphan of an earlier life still holds the shared memory; it ends within moments. */
const TRANSIENT_START_FAILURE = /pre-existing shared memory block|lock file ".*" already exists/;

/** The server that did not start. */
export interface FailedStart {
  readonly dataDir: string;
  readonly logPath: string;
  readonly port: number;
}

/** Whether a start that ended with these words in the log is worth another try in a moment. */
export function isTransientStartFailure(words: string): boolean {
  return TRANSIENT_START_FAILURE.test(words);
}

/** What is thrown for a start that failed, with PostgreSQL's own last words. */
export function startFailure(words: string, options: FailedStart): LockstepError {
  const lines = words
    .split('\n')
    .filter((line) => /FATAL|PANIC|ERROR|could not|invalid|unrecognized|syntax error|HINT/.test(line));
  const said = lines.length > 0 ? lines.slice(-3).join(' ') : words.trim().split('\n').slice(-1).join('');
  const isPortTaken = /Address already in use|could not bind/.test(words);
  const remedy = isPortTaken
    ? `Port ${options.port} is in use; stop what listens there, or choose another: "port" of the node in cluster.json, --pg-port of "lockstep dev".`
    : `The whole log is ${options.logPath}.`;
  return new LockstepError(
    'POSTGRES_FAILED',
    `PostgreSQL in ${options.dataDir} did not start: ${said} ${remedy}`,
    {
      details: { dataDir: options.dataDir, port: options.port },
    },
  );
}
