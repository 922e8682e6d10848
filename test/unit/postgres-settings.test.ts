import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { raiseTo } from '../../src/postgres/control-file.ts';
import type { ControlFile } from '../../src/postgres/control-file.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import {
  REPLICATED_NODE_SETTINGS,
  renderConnInfo,
  renderHba,
  renderSettings,
} from '../../src/postgres/settings.ts';

/** What PostgreSQL's GUC_scanstr makes of a quoted value (src/backend/utils/misc/guc-file.l), or null. */
function scanQuoted(quoted: string): string | null {
  if (!/^'([^'\\\n]|\\.|'')*'$/.test(quoted)) return null;
  const escapes: Record<string, string> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };
  return quoted.slice(1, -1).replace(/''|\\(.)/g, (whole, escaped: string | undefined) => {
    if (whole === "''") return "'";
    return escapes[escaped ?? ''] ?? escaped ?? '';
  });
}

/** What libpq's conninfo_parse makes of a connection string of quoted values. */
function parseConnInfo(text: string): Record<string, string> {
  const found = text.matchAll(/(\w+)='((?:[^'\\]|\\[\s\S])*)'(?: |$)/g);
  return Object.fromEntries(
    [...found].map(([, name, value]) => [name, (value ?? '').replace(/\\([\s\S])/g, '$1')]),
  );
}

describe('settings', () => {
  it('renders each kind of value in the syntax of postgresql.conf', () => {
    const text = renderSettings({
      hot_standby: true,
      wal_log_hints: false,
      port: 5441,
      wal_keep_size: '256MB',
    });
    expect(text.split('\n').slice(1)).toEqual([
      'hot_standby = on',
      'wal_log_hints = off',
      'port = 5441',
      "wal_keep_size = '256MB'",
      '',
    ]);
  });

  it('renders any text so that PostgreSQL reads the same text back', () => {
    const text = fc.string({ unit: fc.constantFrom("'", '\\', '\n', ' ', '#', 'n', '0', 'ä') });
    fc.assert(
      fc.property(text, (value) => {
        const line = renderSettings({ cluster_name: value }).split('\n')[1] ?? '';
        expect(scanQuoted(line.slice('cluster_name = '.length))).toBe(value);
      }),
    );
  });

  it('renders a connection string that keeps a password whole, also inside a setting', () => {
    const password = fc.string({ unit: fc.constantFrom("'", '\\', ' ', '=', 'a') });
    fc.assert(
      fc.property(password, (value) => {
        const info = renderConnInfo({ host: '127.0.0.1', port: 5441, password: value });
        const line = renderSettings({ primary_conninfo: info }).split('\n')[1] ?? '';
        const read = scanQuoted(line.slice('primary_conninfo = '.length));
        expect(parseConnInfo(read ?? '')).toEqual({ host: '127.0.0.1', port: '5441', password: value });
      }),
    );
  });

  it("lets only the listed networks in, with SCRAM only, and Lockstep's own roles from the nodes only", () => {
    const lines = renderHba({ nodes: ['127.0.0.1/32', '10.0.0.4/32'], clients: ['10.0.0.0/8'] })
      .split('\n')
      .filter((line) => /^[^#]/.test(line));
    expect(lines).toEqual([
      'host all all 127.0.0.1/32 scram-sha-256',
      'host replication lockstep,replicator 127.0.0.1/32 scram-sha-256',
      'host all all 10.0.0.4/32 scram-sha-256',
      'host replication lockstep,replicator 10.0.0.4/32 scram-sha-256',
      'host all lockstep,replicator all reject',
      'host all all 10.0.0.0/8 scram-sha-256',
    ]);
    expect(renderHba({ nodes: [], clients: [] })).not.toMatch(/scram/);
  });

  it('never stays below what the log was written with, and never lowers (I5)', () => {
    const control: ControlFile = {
      state: 'other',
      checkpoint: 0n as Lsn,
      checkpointTimeline: 1,
      systemIdentifier: '1',
      minRecoveryPoint: { lsn: 0n as Lsn, timeline: 0 },
      followerMinimums: {
        max_connections: 500,
        max_worker_processes: 8,
        max_wal_senders: 10,
        max_prepared_transactions: 20,
        max_locks_per_transaction: 64,
      },
    };
    const raised = raiseTo(REPLICATED_NODE_SETTINGS, control);
    expect(raised).toMatchObject({
      max_connections: 500,
      max_worker_processes: 16,
      max_prepared_transactions: 20,
    });
    expect(raised).not.toHaveProperty('max_locks_per_transaction');
    expect(raiseTo(REPLICATED_NODE_SETTINGS, null)).toEqual(REPLICATED_NODE_SETTINGS);
  });
});
