import { describe, expect, it } from 'vitest';
import {
  lacksShown,
  parseShown,
  renderShown,
  shownBy,
} from '../../src/leader-follower/duties/core/shown-log.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { parseTimeline } from '../../src/model/timeline.ts';

const [t3, t4] = [parseTimeline(3), parseTimeline(4)];
const shown = { timeline: t4, lsn: parseLsn('0/500') };
const end = (
  timeline: typeof t3,
  received: string,
  replayed = received,
): Parameters<typeof lacksShown>[0] => ({
  history: { timeline, ancestors: [] },
  receivedLsn: parseLsn(received),
  replayedLsn: parseLsn(replayed),
});

describe('a log that followers have seen more of', () => {
  it.each([
    ['ends before', end(t4, '0/4FF'), shown, true],
    ['ends there', end(t4, '0/500'), shown, false],
    ['goes on past it, of which all is replayed', end(t4, '0/400', '0/600'), shown, false],
    ['was rewound onto another timeline since', end(t3, '0/400'), shown, false],
    ['was never noted', end(t4, '0/1'), null, false],
  ] as const)('%s', (_, own, noted, isShorter) => {
    expect(lacksShown(own, noted)).toBe(isShorter);
  });

  it('is noted as far as the furthest follower of that timeline has replayed it', () => {
    const at = (timeline: typeof t3 | null, lsn: string | null): Parameters<typeof shownBy>[1][number] => ({
      timeline,
      replayedLsn: lsn === null ? null : parseLsn(lsn),
    });
    expect(
      shownBy(t4, [at(t3, '0/900'), at(t4, '0/300'), at(t4, '0/400'), at(null, '0/990'), at(t4, null)]),
    ).toBe(parseLsn('0/400'));
    expect(shownBy(t4, [at(t3, '0/900')])).toBeNull();
  });

  it('is read as it was written, and nothing else is', () => {
    expect(parseShown(renderShown(t4, '1/AB'))).toEqual({ timeline: t4, lsn: parseLsn('1/AB') });
    for (const text of ['', '4 1/AB', '4 1/AB\n\n', 'x 1/AB\n', '4 1/ab\n', `4 ${'1'.repeat(9)}/1\n`])
      expect(parseShown(text)).toBeNull();
  });
});
