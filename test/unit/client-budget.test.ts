import { describe, expect, it } from 'vitest';
import { Budget } from '../../src/client/route/budget.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';

describe('Budget', () => {
  it('hands places on in order of arrival', async () => {
    const budget = new Budget(1, 10, new VirtualTime());
    const order: string[] = [];
    await budget.take(0);
    const first = budget.take(0).then(() => order.push('first'));
    const second = budget.take(0).then(() => order.push('second'));
    expect(budget.waiting).toBe(2);
    expect(budget.tryTake()).toBe(false);
    budget.give();
    await first;
    budget.give();
    await second;
    expect(order).toEqual(['first', 'second']);
    budget.give();
    expect(budget.tryTake()).toBe(true);
  });

  it('turns away whoever comes when too many wait', async () => {
    const budget = new Budget(1, 2, new VirtualTime());
    await budget.take(0);
    const waiting = [budget.take(0), budget.take(0)];
    await expect(budget.take(0)).rejects.toMatchObject({
      code: 'POOL_SATURATED',
      outcome: 'not-applied',
      retryable: true,
    });
    budget.give();
    await waiting[0];
    const next = budget.take(0);
    budget.give();
    budget.give();
    await Promise.all([waiting[1], next]);
  });

  it('gives up a wait with pg-pool’s error and loses no place by it', async () => {
    const time = new VirtualTime();
    const budget = new Budget(1, 10, time);
    await budget.take(0);
    const waiting = budget.take(5);
    time.runUntil(4);
    expect(budget.waiting).toBe(1);
    time.runUntil(5);
    await expect(waiting).rejects.toThrow('timeout exceeded when trying to connect');
    expect(budget.waiting).toBe(0);
    budget.give();
    expect(budget.tryTake()).toBe(true);
  });
});
