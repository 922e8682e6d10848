import { expect, it } from 'vitest';
import { renderFollowMetrics } from '../../src/logical/follow/core/metrics.ts';
import { Gauge } from '../../src/logical/follow/gauge.ts';

it('tells what is known of a follow, and leaves out what is not', () => {
  const unknown = renderFollowMetrics(new Gauge('main').status());
  expect(unknown).toContain('lockstep_follow_up{follow="main"} 0\n');
  expect(unknown).not.toContain('lag_bytes');
  const text = renderFollowMetrics({
    ...new Gauge('main').status(),
    state: 'following',
    lagBytes: 2_048,
    lagMs: 1_500,
    caughtUpInSeconds: 3,
    quarantined: 2,
    changes: 7,
  });
  for (const line of [
    'up{follow="main"} 1',
    'lag_bytes{follow="main"} 2048',
    'lag_seconds{follow="main"} 1.5',
    'until_caught_up_seconds{follow="main"} 3',
    'quarantined_transactions{follow="main"} 2',
    'changes_total{follow="main"} 7',
  ])
    expect(text).toContain(`\nlockstep_follow_${line}\n`);
  expect(text).toMatch(/# TYPE lockstep_follow_changes_total counter\n/);
});
