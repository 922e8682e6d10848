export { startTestCluster } from './cluster.ts';
export type { TestCluster, TestClusterOptions, TestNode } from './cluster.ts';
export { startFaultProxy } from './fault-proxy.ts';
export type { CutMoment, FaultProxy, FaultProxyOptions, StatementFault } from './fault-proxy.ts';
