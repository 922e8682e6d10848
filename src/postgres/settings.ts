import { LockstepError } from '../model/errors.ts';
import { isHost, isNetwork } from './addresses.ts';

/** Values of postgresql.conf by name. */
export type Settings = Readonly<Record<string, string | number | boolean>>;

/** Role names inside every cluster. */
export const SUPERUSER = 'lockstep';
export const REPLICATION_USER = 'replicator';

/**
 * Startup options of a superuser's session in a database that is the app's: whatever its owner has made there, or set for
 * the database, no function or operator of theirs takes the place of PostgreSQL's and runs as superuser; nor does the session take
 * their role on, which their own policies and functions would throw off again.
 */
export const ONLY_SYSTEM_NAMES = '-c search_path=pg_catalog -c role=none';

/** The file in the data folder that Lockstep writes; postgresql.conf stays the user's. */
export const SETTINGS_FILE = 'lockstep.conf';

/** What a replicated node needs whatever its role. Memory sizes fit a laptop; postgresql.conf may raise them. */
export const REPLICATED_NODE_SETTINGS: Settings = {
  wal_level: 'logical',
  hot_standby: true,
  hot_standby_feedback: true,
  max_connections: 200,
  max_wal_senders: 16,
  max_replication_slots: 16,
  max_worker_processes: 16,
  wal_log_hints: true,
  // PostgreSQL's defaults; initdb counts them in segments, and would make these smaller with the smaller segments here.
  max_wal_size: '1GB',
  min_wal_size: '80MB',
  // Slots keep what the others lack; this is for the own rewind, which reads back to before the fork.
  wal_keep_size: '256MB',
  // A dead follower's slot must not fill the leader's disk.
  max_slot_wal_keep_size: '2GB',
  track_commit_timestamp: true,
  wal_receiver_status_interval: '1s',
  wal_receiver_timeout: '5s',
  wal_sender_timeout: '5s',
  wal_retrieve_retry_interval: '100ms',
  recovery_target_timeline: 'latest',
  unix_socket_directories: '',
  password_encryption: 'scram-sha-256',
  // Whoever connects and says nothing holds a place of `max_connections`, the superuser's among them.
  authentication_timeout: '10s',
  logging_collector: false,
  log_destination: 'stderr',
  // With the kind of the process, for server-log.ts: a session may log what its SQL made up.
  log_line_prefix: '%m [%p] %b ',
};

const SETTING_NAME = /^[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)*$/;

/** Renders settings in the syntax of postgresql.conf. Source: PostgreSQL documentation, "Parameter Interaction via the Configuration File". */
export function renderSettings(settings: Settings): string {
  const lines = Object.entries(settings).map(([name, value]) => {
    if (!SETTING_NAME.test(name)) throw unwritable('lockstep.conf', name);
    if (typeof value === 'boolean') return `${name} = ${value ? 'on' : 'off'}`;
    if (typeof value === 'number') return `${name} = ${value}`;
    if (/[\0\r]/.test(value)) throw unwritable('lockstep.conf', value);
    const escaped = value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll("'", "''");
    return `${name} = '${escaped}'`;
  });
  return `# Written by Lockstep at every role change; put your own settings at the end of postgresql.conf.\n${lines.join('\n')}\n`;
}

/** Who may log in from where, as networks and hosts. */
export interface Access {
  /** The cluster's own: everybody, Lockstep's superuser and replication too. */
  readonly nodes: readonly string[];
  /** Everybody else's: neither of these. */
  readonly clients: readonly string[];
  /** Nobody else is let in, and nobody streams. Null or missing: everybody. */
  readonly onlyRoles?: readonly string[] | null;
}

/**
 * pg_hba.conf: passwords (SCRAM) only, from the listed networks only, Lockstep's own roles and replication from the nodes
 * only. Throws POSTGRES_FAILED for what is neither a network nor a host: whatever else stood there would be rules of its own.
 */
export function renderHba({ nodes, clients, onlyRoles = null }: Access): string {
  const wrong = [...nodes, ...clients].find((network) => !isNetwork(network) && !isHost(network));
  if (wrong !== undefined) throw unwritable('pg_hba.conf', wrong);
  if (onlyRoles !== null) {
    const others = onlyRoles.filter((role) => role !== SUPERUSER && role !== REPLICATION_USER);
    const few = [
      ...nodes.map((network) => `host all ${onlyRoles.join(',')} ${network} scram-sha-256`),
      ...(others.length === 0 ? [] : clients).map(
        (network) => `host all ${others.join(',')} ${network} scram-sha-256`,
      ),
    ];
    return `# Written by Lockstep.\n${few.join('\n')}\n`;
  }
  const own = `${SUPERUSER},${REPLICATION_USER}`;
  const lines = [
    ...nodes.flatMap((network) => [
      `host all all ${network} scram-sha-256`,
      `host replication ${own} ${network} scram-sha-256`,
    ]),
    // The first line that fits counts.
    `host all ${own} all reject`,
    ...clients.map((network) => `host all all ${network} scram-sha-256`),
  ];
  return `# Written by Lockstep.\n${lines.join('\n')}\n`;
}

/** Renders a libpq connection string; values are quoted. Source: PostgreSQL documentation, "Connection Strings". */
export function renderConnInfo(parameters: Readonly<Record<string, string | number>>): string {
  return Object.entries(parameters)
    .map(([name, value]) => `${name}='${String(value).replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`)
    .join(' ');
}

/** A line of a libpq password file, good for every server. Source: PostgreSQL documentation, "The Password File". */
export function renderPassLine(user: string, password: string): string {
  const [escapedUser, escaped] = [user, password].map((text) => text.replace(/[\\:]/g, '\\$&'));
  return `*:*:*:${escapedUser}:${escaped}\n`;
}

function unwritable(file: string, text: string): LockstepError {
  return new LockstepError(
    'POSTGRES_FAILED',
    `${JSON.stringify(text.slice(0, 100))} is not written to ${file}: it is not what stands there. Correct cluster.json, or remove the node that it belongs to.`,
  );
}
