import { join } from 'node:path';
import type { NodeId } from '../../model/node.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import type { Settings } from '../../postgres/settings.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import type { DelayedNode } from '../delayed/delayed-node.ts';
import { writeNodeSettings } from './node-settings.ts';

export interface RoleSettingsOptions {
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly account: PostgresAccount | null;
  /** The node's folder: its data folder is in it. */
  readonly folder: string;
  /** Null on a node that is not delayed. */
  readonly delayed: DelayedNode | null;
}

/** What a node's lockstep.conf says of its role: whom it follows, and whom its commits wait for. */
export class RoleSettings {
  readonly #options: RoleSettingsOptions;
  following: NodeId | null = null;
  /** Settings that name another leader, or none, could not be written yet: the old ones may still count. */
  isUnwritten = false;
  /** It was set to stream and may not be on the leader's timeline yet. */
  isArriving = false;
  /** PostgreSQL's synchronous_standby_names. */
  standbyNames = '';
  /** New transactions may only read; the next start and the next promotion undo it. */
  isHandingOver = false;
  /** For all nodes alike. */
  clusterSettings: Settings = {};

  constructor(options: RoleSettingsOptions) {
    this.#options = options;
  }

  /** Null also when it left the cluster. */
  get followedNode(): NodeConfig | null {
    return this.#options.config.nodes.find((node) => node.name === this.following) ?? null;
  }

  /** It follows nobody, and nobody is waited for. */
  reset(): void {
    this.following = null;
    this.isHandingOver = false;
    this.isArriving = false;
    this.standbyNames = '';
  }

  /** It follows nobody from here on, and its commits wait for `standbyNames`. Returns whether what is written will do. */
  lead(standbyNames: string): boolean {
    const isReady = !this.isArriving && !this.isHandingOver && this.standbyNames === standbyNames;
    const isPrepared = this.following !== null && isReady;
    this.isHandingOver = false;
    this.following = null;
    this.isUnwritten = !isPrepared;
    this.isArriving = false;
    this.standbyNames = standbyNames;
    return isPrepared;
  }

  /** Writes them, to stream from `leader` (null: from nobody); PostgreSQL is to be reloaded. */
  async write(leader: NodeConfig | null): Promise<void> {
    const { config, node, account, folder, delayed } = this.#options;
    await writeNodeSettings({
      config,
      node,
      leader,
      standbyNames: this.standbyNames,
      isArriving: this.isArriving,
      isHandingOver: this.isHandingOver,
      clusterSettings: this.clusterSettings,
      ownSettings: delayed?.settings() ?? {},
      onlyRoles: delayed?.onlyRoles ?? null,
      account,
      dataDir: join(folder, 'data'),
      passFile: join(folder, 'replication.pgpass'),
    });
    this.isUnwritten = false;
  }
}
