import { LockstepError } from '../../model/errors.ts';
import { nearestName } from '../../model/nearest-name.ts';

/** What a connection here goes by. Source: node-postgres documentation, "Connecting"; docs/sessions.md for `require_auth`. */
const HEEDED: readonly string[] =
  `application_name fallback_application_name options user password passfile host port
  ssl sslmode sslcert sslkey sslrootcert sslnegotiation uselibpqcompat require_auth channel_binding
  client_encoding statement_timeout lock_timeout query_timeout
  idle_in_transaction_session_timeout`.split(/\s+/);
/** libpq's, of which nothing is needed: that is done anyway. */
const IDLE: readonly string[] =
  `target_session_attrs load_balance_hosts connect_timeout keepalives keepalives_idle
  keepalives_interval keepalives_count tcp_user_timeout gssencmode sslcompression sslsni`.split(/\s+/);

/** The first parameter of a URL that would have no effect, which whoever wrote it does not expect; null where all are known. */
export function unknownParameter(parameters: string): string | null {
  const names = [...new URLSearchParams(parameters).keys()];
  return names.find((name) => !HEEDED.includes(name) && !IDLE.includes(name)) ?? null;
}

/** The error for it, with the nearest one that there is. */
export function refuseParameter(name: string): LockstepError {
  const near = nearestName(name, HEEDED);
  const remedy =
    near === undefined ? `Take the parameter "${name}" out of the URL` : `Write "${near}" in the URL`;
  return new LockstepError('CONFIG_INVALID', `${remedy}: "${name}" is none that is known here.`, {
    details: { name },
  });
}
