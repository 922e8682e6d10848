import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { World } from './world.ts';

/**
 * Transcripts: a line with `>` is a command, the lines below it are what the simulated cluster then did. `run` takes milliseconds. They are
 * compared to the letter; after a wanted change of behaviour, `UPDATE_TRANSCRIPTS=1 npm test -- --project scenario`.
 */
const folder = join(import.meta.dirname, 'transcripts');

function run(world: World, command: string): void {
  const [verb = '', ...words] = command.split(' ');
  const [first = '', second = ''] = words;
  switch (verb) {
    case 'kill':
      return world.kill(first);
    case 'start':
      return world.start(first);
    case 'pause':
      return world.pause(first);
    case 'resume':
      return world.resume(first);
    case 'commit':
      return world.commit(first, second);
    case 'pause-server':
      return world.pauseServer(first);
    case 'resume-server':
      return world.resumeServer(first);
    case 'cut':
      return world.cut(first);
    case 'mend':
      return world.mend(first);
    case 'switchover':
      return world.switchover(first, second);
    case 'run':
      return world.run(Number(first));
    case 'show':
      return world.show();
    default:
      throw new Error(`unknown command ${command}`);
  }
}

function replay(transcript: string): string {
  const world = new World(3);
  const out: string[] = [];
  for (const line of transcript.split('\n')) {
    if (line.startsWith('#')) out.push(line);
    if (!line.startsWith('> ')) continue;
    if (out.length > 0 && !out.at(-1)?.startsWith('#')) out.push('');
    out.push(line);
    run(world, line.slice(2));
    out.push(...world.trace.splice(0));
  }
  return `${out.join('\n')}\n`;
}

describe('transcripts of a simulated cluster', () => {
  it.each(readdirSync(folder))('%s', async (file) => {
    const path = join(folder, file);
    const text = readFileSync(path, 'utf8');
    if (process.env['UPDATE_TRANSCRIPTS'] === '1') {
      const { writeFileSync } = await import('node:fs');
      writeFileSync(path, replay(text));
    }
    expect(replay(text)).toBe(readFileSync(path, 'utf8'));
  });
});
