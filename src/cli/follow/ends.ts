import { Option } from 'commander';
import { LockstepError } from '../../model/errors.ts';

/** An end of a follow. A password is better kept from the command line: in the environment, or in a password file. */
export function fromOption(description: string): Option {
  return new Option('--from <url>', description).env('LOCKSTEP_FROM');
}

export function toOption(description: string): Option {
  return new Option('--to <url>', description).env('LOCKSTEP_TO');
}

/** The database's URL. Throws CONFIG_INVALID where none was given. */
export function needUrl(url: string | undefined, option: '--from' | '--to'): string {
  if (url !== undefined) return url;
  const variable = option === '--from' ? 'LOCKSTEP_FROM' : 'LOCKSTEP_TO';
  throw new LockstepError(
    'CONFIG_INVALID',
    `Name the database with ${option} postgresql://… or in ${variable}.`,
  );
}

/** Other users of the machine see a process's arguments; from here on they see this instead. */
export function hideArguments(command: string): void {
  process.title = `lockstep ${command}`;
}
