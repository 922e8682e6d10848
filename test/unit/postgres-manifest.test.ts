import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { verifyManifest } from '../../src/postgres/copy/base-backup.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

interface Listed {
  readonly Path?: string;
  readonly 'Encoded-Path'?: string;
  readonly Size: number;
  readonly 'Checksum-Algorithm'?: string;
  readonly Checksum?: string;
}

/** A manifest as the server writes one: its checksum covers every byte before its own line. */
function renderManifest(files: readonly Listed[]): string {
  const lines = files.map((file) => JSON.stringify(file)).join(',\n');
  const covered = `{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [\n${lines}\n],\n"WAL-Ranges": [],\n`;
  return `${covered}"Manifest-Checksum": "${sha256(covered)}"}\n`;
}

const listed: readonly Listed[] = [
  { Path: 'PG_VERSION', Size: 3, 'Checksum-Algorithm': 'SHA256', Checksum: sha256('15\n') },
  { Path: 'base/1/1259', Size: 4, 'Checksum-Algorithm': 'SHA256', Checksum: sha256('data') },
  { 'Encoded-Path': Buffer.from('base/ü').toString('hex'), Size: 0, Checksum: sha256('') },
];
const received = new Map([
  ['PG_VERSION', { size: 3, sha256: sha256('15\n') }],
  ['base/1/1259', { size: 4, sha256: sha256('data') }],
  ['base/ü', { size: 0, sha256: sha256('') }],
  ['pg_wal/000000010000000000000002', { size: 16, sha256: sha256('log') }],
]);

function without(path: string): Map<string, { size: number; sha256: string }> {
  return new Map([...received].filter(([name]) => name !== path));
}

describe('a backup manifest', () => {
  it('accepts what arrived as listed, and the log beside it', () => {
    expect(() => verifyManifest(renderManifest(listed), received)).not.toThrow();
  });

  it.each([
    ['a missing file', without('base/1/1259'), /base\/1\/1259 is missing/],
    [
      'a short file',
      new Map([...received, ['base/1/1259', { size: 3, sha256: sha256('data') }]]),
      /has 3 bytes instead of 4/,
    ],
    [
      'a flipped bit',
      new Map([...received, ['base/1/1259', { size: 4, sha256: sha256('dat`') }]]),
      /base\/1\/1259 does not fit its checksum/,
    ],
    ['a missing file whose name is encoded', without('base/ü'), /base\/ü is missing/],
  ])('finds %s', (_what, files, message) => {
    expect(() => verifyManifest(renderManifest(listed), files)).toThrow(message);
  });

  it('finds damage to itself, wherever it is', () => {
    const whole = renderManifest(listed);
    const damaged = [
      whole.replace('"Size":4', '"Size":5'),
      whole.replace(
        /"Manifest-Checksum": "./,
        (start) => `${start.slice(0, -1)}${start.endsWith('0') ? '1' : '0'}`,
      ),
      whole.slice(0, whole.indexOf('"Manifest-Checksum"')),
      whole.slice(0, 40),
      '',
    ];
    for (const text of damaged) {
      expect(() => verifyManifest(text, received)).toThrow(
        expect.objectContaining({ code: 'POSTGRES_FAILED', retryable: true }),
      );
    }
  });
});
