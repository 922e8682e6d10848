import { describe, expect, it } from 'vitest';
import type { Action, CampaignGround } from '../../src/leader-follower/core/action.ts';
import { duringMaintenance, isUnasked } from '../../src/leader-follower/plan/core/maintenance.ts';
import {
  changePlan,
  EMPTY_PLAN,
  judgeSchedule,
  LATE_AFTER_MS,
  parsePlan,
  withoutSchedule,
} from '../../src/leader-follower/plan/core/plan.ts';
import { parsePlanCommand } from '../../src/leader-follower/plan/plan-command.ts';
import { parseNodeId, parseTerm } from '../../src/model/node.ts';

const n1 = parseNodeId('n1');
const NOW = Date.UTC(2030, 0, 1);

const campaign = (ground: CampaignGround): Action => ({ kind: 'campaign', ground, reason: 'a test' });

describe('a paused cluster', () => {
  it('elects nobody unless the leadership was given up, or who led last is back', () => {
    const all = (['released', 'expired', 'suspected', 'led-last'] as const).map(campaign);
    expect(duringMaintenance(all, false)).toEqual([campaign('released'), campaign('led-last')]);
    expect(all.filter(isUnasked)).toEqual([campaign('expired'), campaign('suspected')]);
  });

  it('replaces no data and moves no leadership by itself', () => {
    const moves: readonly Action[] = [
      { kind: 'rewind', from: n1, reason: '' },
      { kind: 'clone', from: n1, reason: '' },
      { kind: 'restart', reason: '' },
      { kind: 'release', reason: '' },
      { kind: 'hand-over', reason: '', inOrder: true },
    ];
    expect(duringMaintenance(moves, false)).toEqual([]);
  });

  it('starts PostgreSQL after its agent or watchdog ended it, and not when a person may have', () => {
    const start: Action = { kind: 'start', reason: '' };
    expect(duringMaintenance([start], false)).toEqual([start]);
    expect(duringMaintenance([start], true)).toEqual([]);
  });

  it('keeps whatever keeps two leaders apart', () => {
    const kept: readonly Action[] = [
      { kind: 'demote', reason: '' },
      { kind: 'refuse', reason: '' },
      { kind: 'detach' },
      { kind: 'follow', leader: n1, term: parseTerm(3) },
      { kind: 'promote', term: parseTerm(3) },
      { kind: 'lead' },
    ];
    expect(duringMaintenance(kept, true)).toEqual(kept);
  });
});

describe('the plan', () => {
  it('is paused once, and says since when and why', () => {
    const { plan } = changePlan(EMPTY_PLAN, { kind: 'pause', reason: 'new disks' }, NOW);
    expect(plan.maintenance).toEqual({ since: '2030-01-01T00:00:00.000Z', reason: 'new disks' });
    expect(() => changePlan(plan, { kind: 'pause', reason: null }, NOW)).toThrow(
      /paused already, since 2030-01-01T00:00:00\.000Z \(new disks\)/,
    );
    expect(changePlan(plan, { kind: 'resume' }, NOW).plan).toEqual(EMPTY_PLAN);
  });

  it('is not written where a command changes nothing', () => {
    expect(changePlan(EMPTY_PLAN, { kind: 'resume' }, NOW).plan).toBe(EMPTY_PLAN);
  });

  it('holds one switchover, to be taken back or begun once', () => {
    const at = '2030-01-01T03:00:00+02:00';
    const { plan } = changePlan(EMPTY_PLAN, { kind: 'schedule', at, to: 'n2' }, NOW);
    const schedule = plan.schedule!;
    expect(schedule).toMatchObject({ at: '2030-01-01T01:00:00.000Z', to: 'n2' });
    expect(() => changePlan(plan, { kind: 'schedule', at, to: null }, NOW)).toThrow(
      /planned already, for 2030-01-01T01:00:00\.000Z to n2/,
    );
    expect(changePlan(plan, { kind: 'cancel' }, NOW).plan).toEqual(EMPTY_PLAN);
    expect(() => changePlan(EMPTY_PLAN, { kind: 'cancel' }, NOW)).toThrow(/No switchover is planned/);

    const begun = withoutSchedule(plan, schedule);
    expect(begun).toEqual(EMPTY_PLAN);
    expect(withoutSchedule(begun, schedule)).toBe(begun);
    const again = changePlan(begun, { kind: 'schedule', at, to: 'n2' }, NOW + 1).plan;
    expect(withoutSchedule(again, schedule)).toBe(again);
  });

  it('begins a switchover neither before its time nor more than 5 minutes after', () => {
    const schedule = { at: new Date(NOW).toISOString(), to: null, since: '' };
    expect(judgeSchedule(schedule, NOW - 1)).toBe('early');
    expect(judgeSchedule(schedule, NOW)).toBe('due');
    expect(judgeSchedule(schedule, NOW + LATE_AFTER_MS)).toBe('due');
    expect(judgeSchedule(schedule, NOW + LATE_AFTER_MS + 1)).toBe('late');
  });

  it('takes no time that is none, or has passed', () => {
    const plan = (at: string) => changePlan(EMPTY_PLAN, { kind: 'schedule', at, to: null }, NOW);
    expect(() => plan('tomorrow')).toThrow(/"tomorrow" is no time; write it as/);
    expect(() => plan('2029-12-31T23:59:59Z')).toThrow(/2029-12-31T23:59:59\.000Z has passed; it is 2030/);
  });

  it('is empty where nothing was ever written', () => {
    expect(parsePlan(undefined)).toEqual(EMPTY_PLAN);
  });

  it('takes no command that it does not know', () => {
    expect(() => parsePlanCommand({ kind: 'stop' })).toThrow(/no change of the plan/);
    expect(() => parsePlanCommand({ kind: 'pause' })).toThrow(/at "reason"/);
  });
});

describe('settings of all nodes', () => {
  const set = (settings: Record<string, string>, plan = EMPTY_PLAN) =>
    changePlan(plan, { kind: 'set', settings }, NOW).plan;

  it('are added, changed and taken away by name, whatever its case', () => {
    const plan = set({ Work_Mem: '64MB', max_connections: '300' });
    expect(plan.settings).toEqual({ max_connections: '300', work_mem: '64MB' });
    expect(set({ work_mem: '64MB' }, plan)).toBe(plan);
    const less = changePlan(plan, { kind: 'unset', names: ['WORK_MEM'] }, NOW).plan;
    expect(less.settings).toEqual({ max_connections: '300' });
    expect(() => changePlan(less, { kind: 'unset', names: ['work_mem'] }, NOW)).toThrow(
      /work_mem is not set/,
    );
  });

  it.each([
    'port',
    'listen_addresses',
    'PRIMARY_CONNINFO',
    'primary_slot_name',
    'synchronous_standby_names',
    'cluster_name',
    'hot_standby',
    'wal_level',
    'fsync',
    'recovery_target_lsn',
    'lockstep.node',
  ])('never are Lockstep’s own: %s', (name) => {
    expect(() => set({ [name]: 'x' })).toThrow(/is set by Lockstep/);
  });

  it.each(['archive_command', 'ssl_key_file', 'unix_socket_directories', 'local_preload_libraries'])(
    'run no program and load no file of the machine: %s',
    (name) => {
      expect(() => set({ [name]: 'x' })).toThrow(/program or file of the machine|is set by Lockstep/);
    },
  );

  it('load libraries only from the folder of PostgreSQL', () => {
    const given = { shared_preload_libraries: 'pg_stat_statements, auto_explain' };
    expect(set(given).settings).toEqual(given);
    expect(() => set({ shared_preload_libraries: '/tmp/evil' })).toThrow(/takes names of libraries/);
  });

  it.each(["a'b", 'a b', '', 'x\ninclude', '1a', '__proto__'])('have names: not %j', (name) => {
    const settings = JSON.parse(`{${JSON.stringify(name)}: "x"}`) as Record<string, string>;
    expect(() => set(settings)).toThrow(/is no name of a PostgreSQL setting/);
  });
});
