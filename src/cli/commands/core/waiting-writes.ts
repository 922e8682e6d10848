import type { NodeTopology, Topology } from '../../../model/topology.ts';

/** What `lockstep policy set` asks for. */
export interface WantedPolicy {
  readonly followers: number | 'all';
  readonly degradeAfterMs: number | null;
}

/** By a policy that may not degrade: for whom of the `counted` commits would wait, since too few of them acknowledge now. */
export function missingFor(
  policy: WantedPolicy,
  counted: readonly string[],
  topology: Topology,
): readonly string[] {
  if (policy.degradeAfterMs !== null) return [];
  const required = policy.followers === 'all' ? counted.length : policy.followers;
  const there = acknowledging(topology);
  const missing = counted.filter((name) => !there.includes(name));
  // More than there are is refused by whoever leads.
  return required <= counted.length && counted.length - missing.length < required ? missing : [];
}

/** Why `policy set` does not do as it is told without --force. */
export function refusePolicy(missing: readonly string[]): string {
  const names = missing.join(', ');
  return `Start ${names} first, name a --degrade-after, or pass --force: by this policy every synchronous commit waits for ${names} to acknowledge. Nothing was changed.`;
}

/** What `policy set --force` says. The way out needs nobody who is away. */
export function tellOfPolicy(missing: readonly string[], topology: Topology): string {
  const kind = acknowledging(topology).length > 0 ? 'semi-sync' : 'async';
  return `Synchronous commits wait for ${missing.join(', ')} to acknowledge; "lockstep policy set ${kind}" lets the next ones go on.`;
}

/** For how many of how many followers commits would wait while `name` is copied anew; null where enough others acknowledge. */
export function lackingWithout(
  name: string,
  topology: Topology,
): { readonly others: number; readonly required: number } | null {
  const { syncPolicy } = topology;
  const there = acknowledging(topology);
  if (syncPolicy === undefined || syncPolicy.degradeAfterMs !== null || !there.includes(name)) return null;
  const others = there.length - 1;
  const required = syncPolicy.followers === 'all' ? there.length : syncPolicy.followers;
  return others >= required ? null : { others, required };
}

/** The followers that the leader hears and counts. Who streams is in the sync set within moments. */
function acknowledging({ nodes, syncPolicy }: Topology): readonly string[] {
  const isThere = ({ name, role, state, sync }: NodeTopology): boolean =>
    role === 'follower' && state === 'running' && sync && syncPolicy?.waitsFor?.includes(name) !== true;
  return nodes.filter(isThere).map(({ name }) => name);
}
