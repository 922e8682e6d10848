import { isIP } from 'node:net';
import { newsKeyOf } from '../../coordination/agent-seal.ts';
import { LockstepError } from '../../model/errors.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import { isHost } from '../../postgres/addresses.ts';
import { readDataVersion, replaceFile, writeSettings } from '../../postgres/data-folder.ts';
import {
  renderConnInfo,
  renderPassLine,
  REPLICATED_NODE_SETTINGS,
  REPLICATION_USER,
} from '../../postgres/settings.ts';
import type { Settings } from '../../postgres/settings.ts';
import { slotName } from '../../postgres/slots.ts';
import { agentUrl, dataNodes, delayMsOf } from '../config/config.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';

/** libpq has require_auth since this major. */
const REQUIRE_AUTH_SINCE = 16;
/** From here on PostgreSQL itself keeps a leader's logical slots on its followers too. */
const SLOT_SYNC_SINCE = 17;

const LOOPBACK = ['127.0.0.1/32', '::1/128'];

/** What one node's lockstep.conf depends on. */
export interface NodeSettingsOptions {
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  /** Whom it streams from; null for nobody. */
  readonly leader: NodeConfig | null;
  /** PostgreSQL's synchronous_standby_names. */
  readonly standbyNames: string;
  /** It is to stream from a leader whose timeline it may not have yet. */
  readonly isArriving: boolean;
  readonly passFile: string;
  /** New transactions may only read, since another node is about to lead. */
  readonly isHandingOver: boolean;
  /** For all nodes alike. */
  readonly clusterSettings: Settings;
  /** For this node alone, over all others: of a delayed one. */
  readonly ownSettings: Settings;
  /** Who may connect, in the place of everybody; null for everybody. */
  readonly onlyRoles: readonly string[] | null;
  readonly dataDir: string;
  readonly account: PostgresAccount | null;
}

/** Writes a node's lockstep.conf, pg_hba.conf and the password file that it names; PostgreSQL is to be reloaded. */
export async function writeNodeSettings(options: NodeSettingsOptions): Promise<void> {
  const { config, account, dataDir, passFile } = options;
  await replaceFile(passFile, renderPassLine(REPLICATION_USER, config.secrets.replication), account);
  // The list of nodes comes from a register: one bad entry must neither get into a file nor stop all nodes.
  const hosts = dataNodes(config).filter(({ host }) => isHost(host));
  const nodes = [...new Set([...LOOPBACK, ...hosts.map(networkOf), ...config.nodeNetworks])];
  const settings = nodeSettings(options, await readDataVersion(dataDir));
  await writeSettings(dataDir, account, settings, {
    nodes,
    clients: config.allowedNetworks,
    onlyRoles: options.onlyRoles,
  });
}

/** A node's own address, as pg_hba.conf has it: a name stays one. */
function networkOf({ host }: NodeConfig): string {
  const version = isIP(host);
  if (version === 0) return host;
  return `${host}/${version === 4 ? 32 : 128}`;
}

/** `major`: of the PostgreSQL that reads them. */
function nodeSettings(options: NodeSettingsOptions, major: number | null): Settings {
  const { config, node, leader } = options;
  if (leader !== null && !isHost(leader.host)) {
    throw new LockstepError(
      'POSTGRES_FAILED',
      `${leader.name} is listed with an address that is none, and is not followed. Remove it ("lockstep node remove"), and add it again.`,
    );
  }
  // They are to be had from a leader only, so that a follower of a follower would ask in vain. One with a delay never leads.
  const keepsLogicalSlots = (major ?? 0) >= SLOT_SYNC_SINCE && node.from == null && delayMsOf(node) === 0;
  return {
    ...REPLICATED_NODE_SETTINGS,
    ...options.clusterSettings,
    cluster_name: `${config.name}/${node.name}`,
    listen_addresses: node.host,
    port: node.port,
    // A timeline begins with a new file: to fill it first would hold up the first synchronous commit.
    ...(options.isArriving ? { wal_init_zero: false } : {}),
    // The second tells clients that the first is no wish of the database's owner, and soon over.
    ...(options.isHandingOver
      ? { default_transaction_read_only: true, 'lockstep.is_handing_over': 'on' }
      : {}),
    synchronous_standby_names: options.standbyNames,
    primary_slot_name: leader === null ? '' : slotName(node.name),
    primary_conninfo:
      leader === null
        ? ''
        : renderConnInfo({
            host: leader.host,
            port: leader.port,
            user: REPLICATION_USER,
            // Not the password itself: PostgreSQL logs changed settings.
            passfile: options.passFile,
            application_name: node.name,
            keepalives_idle: 2,
            connect_timeout: 3,
            // Whoever took the leader's port is not to be told the password; older PostgreSQL cannot be told so.
            ...((major ?? 0) >= REQUIRE_AUTH_SINCE ? { require_auth: 'scram-sha-256' } : {}),
            ...(keepsLogicalSlots ? { dbname: 'postgres' } : {}),
          }),
    ...(keepsLogicalSlots ? { sync_replication_slots: leader !== null } : {}),
    'lockstep.agent_url': agentUrl(node),
    'lockstep.agent_key': newsKeyOf(config.id, config.secrets),
    'lockstep.node': node.name,
    ...options.ownSettings,
  };
}
