import { createServer } from 'node:net';
import { InvalidArgumentError } from 'commander';
import { LockstepError } from '../../model/errors.ts';

/** Whether this port of the loopback address can be listened on now. */
export async function isPortFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

/**
 * `count` free ports from `first` on. With `isExact` the ports must be just these: then a taken one
 * throws CONFIG_INVALID.
 */
export async function choosePorts(
  first: number,
  count: number,
  options: {
    readonly isExact: boolean;
    readonly flag: string;
    /** Free now, and not to be chosen. */
    readonly except?: readonly number[];
  },
): Promise<number[]> {
  const chosen: number[] = [];
  for (let port = first; chosen.length < count; port++) {
    if (port > 65_535) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `There are no ${count} free ports from ${first} on; choose others with ${options.flag}.`,
      );
    }
    if (options.except?.includes(port) !== true && (await isPortFree(port))) {
      chosen.push(port);
    } else if (options.isExact) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `Port ${port} is in use. Stop what listens there, or choose another with ${options.flag}.`,
        {
          details: { port },
        },
      );
    }
  }
  return chosen;
}

/** Of a command line. */
export function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('A port is a number from 1 to 65535.');
  return port;
}
