import { LockstepError } from '../../model/errors.ts';

export const PRESET_PORT = 5432;
export const PRESET_AGENT_PORT = 7411;

/** A server as a person names it: `n1=10.0.0.1`, with ports `n1=10.0.0.1:5432:7411`, or `n1=[fd00::1]:5432`. */
export interface NamedServer {
  readonly name: string;
  readonly host: string;
  readonly ports: readonly number[];
}

const SERVER = /^([^=\s]+)=(\[[^\]\s]+\]|[^:\s[\]]+)((?::\d+)*)$/;

/** Reads one. `ports` is how many it may name. Throws CONFIG_INVALID with an example. */
export function parseServer(text: string, portNames: readonly string[]): NamedServer {
  const [, name = '', host = '', rest = ''] = SERVER.exec(text.trim()) ?? [];
  const ports = rest.split(':').slice(1).map(Number);
  if (name === '' || ports.length > portNames.length) {
    const form = ['n1=10.0.0.1', ...portNames.map((port) => `[:${port}]`)].join('');
    throw new LockstepError('CONFIG_INVALID', `Write a server as ${form}, not "${text}".`);
  }
  return { name, host: host.replace(/^\[|\]$/g, ''), ports };
}

/** What is to be said of a cluster's servers before anybody relies on them; null when nothing. */
export function describeWeakness(voters: number, withData: number): string | null {
  if (withData === 1) return 'One server with data: nobody can take over when it is lost.';
  if (voters === 2) {
    return 'Two servers that vote cannot do without one of them: add --witness w1=<address> on a third machine, or a third server.';
  }
  return voters % 2 === 0
    ? `${voters} servers that vote survive no more losses than ${voters - 1} do: name an odd number.`
    : null;
}
