import type { Hono } from 'hono';
import type { Context, Env } from 'hono';
import { judgeHealth, parseLagLimit, primaryObstacle, replicaObstacle } from '../report/core/health.ts';
import { renderMetrics } from '../report/core/metrics.ts';
import type { NodeStatus } from '../report/status.ts';
import type { ClusterEvent, Topology } from '../../model/topology.ts';

/** What the answers are made of; an agent's whole interface has it. */
export interface ProbeSources {
  status(): NodeStatus;
  topology(): Topology;
  events(): readonly ClusterEvent[];
  subscribe(listener: (change: { topology: Topology } | { event: ClusterEvent }) => void): unknown;
}

/** Load balancers ask with either. HEAD is answered as GET is. */
const METHODS = ['GET', 'OPTIONS'];

/**
 * What monitors and load balancers ask, without a secret: `/health`, `/primary` and `/replica?lag=10MB` answer 200 or 503
 * and say why, `/metrics` what Prometheus reads.
 */
export function serveProbes<E extends Env>(app: Hono<E>, api: ProbeSources): void {
  const events = countEvents(api);
  app.on(METHODS, '/health', (context) => {
    const health = judgeHealth(api.status(), api.topology());
    return context.json(health, health.ok ? 200 : 503);
  });
  app.on(METHODS, '/primary', (context) =>
    answer(context, api, primaryObstacle(api.status(), api.topology())),
  );
  app.on(METHODS, '/replica', (context) => {
    const limit = parseLagLimit(context.req.query('lag'));
    if (limit === null) {
      const message = 'Write the lag as 10MB, 1048576, 500ms or 2s.';
      return context.json({ code: 'CONFIG_INVALID', message, outcome: 'not-applied' }, 400);
    }
    return answer(context, api, replicaObstacle(api.status(), api.topology(), limit));
  });
  app.get('/metrics', (context) => {
    const { user, system } = process.cpuUsage();
    const text = renderMetrics({
      status: api.status(),
      topology: api.topology(),
      events,
      process: { residentBytes: process.memoryUsage.rss(), cpuSeconds: (user + system) / 1_000_000 },
    });
    return context.body(text, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
  });
}

function answer(context: Context, api: Pick<ProbeSources, 'status'>, obstacle: string | null): Response {
  const { node, role, state } = api.status();
  return context.json({ node, role, state, reason: obstacle }, obstacle === null ? 200 : 503);
}

function countEvents(api: Pick<ProbeSources, 'events' | 'subscribe'>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const count = (kind: string): unknown => counts.set(kind, (counts.get(kind) ?? 0) + 1);
  for (const { kind } of api.events()) count(kind);
  api.subscribe((change) => {
    if ('event' in change) count(change.event.kind);
  });
  return counts;
}
