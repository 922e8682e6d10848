// `npm run hang -- --minutes 10`: what calls hold in memory while one of three servers hangs under load.
import { parseArgs } from 'node:util';
import { runHang } from './hang.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    callers: { type: 'string', default: '64' },
    json: { type: 'boolean', default: false },
  },
});
const result = await runHang({
  hangMs: Number(values.minutes) * 60_000,
  callers: Number(values.callers),
  quorum: {},
  everyMs: 10_000,
  say: (what) => void process.stderr.write(`${what}\n`),
});
const { heaps, heapBefore, answers, failures, longestPauseMs, mostWaitingBytes, isEqual } = result;
const mb = (bytes: number): string => (bytes / 1_048_576).toFixed(1);
process.stdout.write(
  values.json
    ? `${JSON.stringify(result, null, 2)}\n`
    : `one of three hung for ${values.minutes} min: ${answers} answers, ${failures.length} failures${failures.length > 0 ? ` (the first: ${failures[0]})` : ''}, longest pause ${longestPauseMs.toFixed(0)} ms; ${mb(heapBefore)} MB held before, at most ${mb(Math.max(...heaps))} MB and ${mb(heaps.at(-1) ?? 0)} MB at the end; at most ${mostWaitingBytes} bytes waited for it; all ${isEqual ? 'equal' : 'NOT EQUAL'} afterwards\n`,
);
if (!isEqual || failures.length > 0) process.exitCode = 1;
