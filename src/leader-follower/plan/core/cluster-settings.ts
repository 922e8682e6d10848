import { LockstepError } from '../../../model/errors.ts';

/** PostgreSQL settings for all nodes, by name; values as in postgresql.conf, without quotes. */
export type ClusterSettings = Readonly<Record<string, string>>;

const NAME = /^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$/;
const MAX_SETTINGS = 200;
const MAX_VALUE_CHARACTERS = 2_000;

/** What each node has its own of, or what replication and failover rest on. */
const OWNED: ReadonlySet<string> = new Set([
  'cluster_name',
  'config_file',
  'data_directory',
  'external_pid_file',
  'full_page_writes',
  'fsync',
  'hba_file',
  'hot_standby',
  'ident_file',
  'include',
  'include_dir',
  'include_if_exists',
  'listen_addresses',
  'log_destination',
  'logging_collector',
  'password_encryption',
  'port',
  'primary_conninfo',
  'primary_slot_name',
  'synchronous_standby_names',
  'track_commit_timestamp',
  'unix_socket_directories',
  'wal_level',
  'wal_log_hints',
  'zero_damaged_pages',
]);

/** They run a program or load a file of the machine: whoever may change the plan must not run programs by it. */
const OF_THE_MACHINE =
  /_command$|_directories$|_file$|_path$|^archive_library$|^jit_provider$|^(local|session)_preload_libraries$/;
/** Libraries are allowed by name, out of PostgreSQL's own folder. */
const LIBRARY_NAMES = /^[\w-]+(\s*,\s*[\w-]+)*$|^$/;

/** Brings names into PostgreSQL's form. Throws CONFIG_INVALID for what is not the cluster's to set. */
export function checkClusterSettings(settings: ClusterSettings): ClusterSettings {
  const checked: Record<string, string> = {};
  for (const [given, value] of Object.entries(settings)) {
    const name = checkSettingName(given);
    const isTooLong = value.length > MAX_VALUE_CHARACTERS;
    if (isTooLong || value.includes('\0')) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `The value for ${name} ${isTooLong ? `has more than ${MAX_VALUE_CHARACTERS} characters` : 'has a zero byte in it'}.`,
      );
    }
    if (name === 'shared_preload_libraries' && !LIBRARY_NAMES.test(value)) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `shared_preload_libraries takes names of libraries here, not "${value}"; put others into each node's postgresql.conf.`,
      );
    }
    checked[name] = value;
  }
  return checked;
}

/** The name in PostgreSQL's form. Throws CONFIG_INVALID when it is none, or not the cluster's to set. */
export function checkSettingName(given: string): string {
  const name = given.toLowerCase();
  if (!NAME.test(name) || name === '__proto__') {
    throw new LockstepError('CONFIG_INVALID', `"${given}" is no name of a PostgreSQL setting.`);
  }
  if (OWNED.has(name) || name.startsWith('lockstep.') || name.startsWith('recovery_target')) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${name} is set by Lockstep: replication and failover rest on it, or each node has its own.`,
    );
  }
  if (OF_THE_MACHINE.test(name)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${name} names a program or file of the machine, so it is not set from afar; put it into each node's postgresql.conf.`,
    );
  }
  return name;
}

/** The settings with some changed and some taken away; the same object when nothing is different. */
export function changeSettings(
  settings: ClusterSettings,
  changed: ClusterSettings,
  removed: readonly string[],
): ClusterSettings {
  const next = Object.fromEntries(
    Object.entries({ ...settings, ...changed })
      .filter(([name]) => !removed.includes(name))
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
  const count = Object.keys(next).length;
  if (count > MAX_SETTINGS) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${count} settings are more than the ${MAX_SETTINGS} that a plan takes.`,
    );
  }
  return JSON.stringify(next) === JSON.stringify(settings) ? settings : next;
}
