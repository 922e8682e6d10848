import type { PostgresAccount } from '../../postgres/account.ts';
import type { PostgresBinaries } from '../../postgres/binaries.ts';
import type { KernelWatchdogDevice } from '../../postgres/watchdog/kernel-watchdog.ts';
import type { Clock } from '../../model/clock.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';

export interface LocalNodeListener {
  readonly onUnexpectedExit: (reason: string) => void;
  /** The watchdog froze PostgreSQL, for a reason, or (null) let it go on. */
  readonly onFrozen: (reason: string | null) => void;
  /** See PostgresServerOptions. */
  readonly onProblem: (problem: string) => void;
}

export interface LocalNodeOptions extends LocalNodeListener {
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly stateDir: string;
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly kernelWatchdog: KernelWatchdogDevice | null;
  readonly clock: Clock;
}
