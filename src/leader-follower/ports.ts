import type { PostgresServer } from '../postgres/server.ts';
import type { DelayedNode } from './delayed/delayed-node.ts';
import type { LocalChanges } from './local/local-changes.ts';
import type { LocalNode } from './local/local-node.ts';
import type { RoleSettings } from './local/role-settings.ts';
import type { Peers, PeersListener } from './peers/peers.ts';

/** What everybody may use of a class, for something else to stand in for it. */
type Public<T> = Pick<T, keyof T>;

/** The other agents, as this one hears and asks them: {@link Peers} over the network, or a simulation's. */
export type PeersPort = Public<Peers>;

/** Opens the links to the others; `listener` hears what comes of them. */
export type OpenPeers = (listener: PeersListener) => PeersPort;

/** The node's PostgreSQL, as its agent sees and changes it: {@link LocalNode}, or what stands in for it. */
export type LocalPort = Omit<Public<LocalNode>, 'server' | 'changes' | 'role' | 'delayed'> & {
  readonly server: Public<PostgresServer>;
  readonly changes: Public<LocalChanges>;
  readonly role: Public<RoleSettings>;
  readonly delayed: DelayedNode | null;
};
