import { LockstepError } from '../model/errors.ts';
import { AUTH_METHODS, SAFE_AUTH, SCRAM_ONLY } from './core/auth-guard.ts';
import type { AuthMethod } from './core/auth-guard.ts';
import { parseChannelBinding } from './core/channel-binding.ts';
import { parametersOf, refuseSecondAddress } from './core/query-part.ts';
import { GuardedClient } from './guarded-client.ts';
import type { GuardedClientConfig } from './guarded-client.ts';
import { passwordFrom } from './pass-file.ts';

const HAS_PASSWORD = /^[a-z]+:\/\/[^/?#]*:[^/?#]+@/i;

/**
 * A client for the server that a connection string names, which trusts as a pool does: with a password, a server must
 * prove by SCRAM that it knows it; the parameter `require_auth` allows other ways. Throws CONFIG_INVALID for one that
 * there is not, and for a string with two addresses.
 */
export function createUrlClient(
  config: GuardedClientConfig & { readonly connectionString: string },
): GuardedClient {
  refuseSecondAddress(config.connectionString);
  const parameters = parametersOf(config.connectionString);
  // Of several, the pool takes the last.
  const binding = parameters.getAll('channel_binding').at(-1);
  const client = new GuardedClient({
    ...config,
    requireAuth: authOf(config.connectionString, parameters),
    enableChannelBinding: binding === undefined ? config.enableChannelBinding : parseChannelBinding(binding),
  });
  if (config.options !== undefined) addOptions(client, config.options);
  const passFile = parameters.get('passfile');
  if (passFile !== null) {
    const { host, port, database = '', user = '' } = client;
    client.password ??= passwordFrom(passFile, { host, port, database, user }) ?? undefined;
  }
  // Whoever waits for an answer is told; without a listener, a connection that breaks would end the process.
  client.on('error', () => undefined);
  return client;
}

/** To pg, the URL's options replace those of the config. Of two settings PostgreSQL takes the last. */
function addOptions(client: GuardedClient, own: string): void {
  const { connectionParameters } = client as unknown as { connectionParameters: { options?: string } };
  const given = connectionParameters.options;
  connectionParameters.options = given === undefined || given === own ? own : `${given} ${own}`;
}

function authOf(url: string, parameters: URLSearchParams): readonly AuthMethod[] {
  const given = parameters.get('require_auth');
  if (given === null) {
    const hasPassword =
      HAS_PASSWORD.test(url) ||
      // Of several, pg takes the last.
      [...parameters.getAll('password'), parameters.get('passfile'), process.env['PGPASSWORD']].some(Boolean);
    return hasPassword ? SCRAM_ONLY : SAFE_AUTH;
  }
  const names = given.split(',').map((name) => name.trim());
  const methods = AUTH_METHODS.filter((method) => names.includes(method));
  if (methods.length === new Set(names).size) return methods;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"require_auth" in the URL is not usable; name one or several of ${AUTH_METHODS.join(', ')}.`,
  );
}
