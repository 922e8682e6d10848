import { renderConnInfo, REPLICATED_NODE_SETTINGS, REPLICATION_USER } from '../postgres/settings.ts';
import type { Settings } from '../postgres/settings.ts';
import { slotName } from '../postgres/slots.ts';
import { agentUrl } from './config.ts';
import type { ClusterConfig, NodeConfig } from './config.ts';

/** What one node's lockstep.conf says, by role: `leader` is whom it streams from, null for nobody. */
export function nodeSettings(options: {
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly leader: NodeConfig | null;
  /** PostgreSQL's synchronous_standby_names. */
  readonly standbyNames: string;
  readonly passFile: string;
}): Settings {
  const { config, node, leader } = options;
  return {
    ...REPLICATED_NODE_SETTINGS,
    cluster_name: `${config.name}/${node.name}`,
    listen_addresses: node.host,
    port: node.port,
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
          }),
    'lockstep.agent_url': agentUrl(node),
    'lockstep.node': node.name,
  };
}
