export { startTestCluster } from './cluster.ts';
export type { TestCluster, TestClusterOptions, TestNode } from './cluster.ts';
