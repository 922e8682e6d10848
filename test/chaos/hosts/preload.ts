import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runTool } from './command.ts';

/** Compiles what makes disks hang and clocks jump (disk.c, clock.c) into a library; null without a C compiler. */
export async function compilePreload(folder: string): Promise<string | null> {
  const library = join(folder, 'preload.so');
  const sources = ['./disk.c', './clock.c'].map((name) => fileURLToPath(new URL(name, import.meta.url)));
  return runTool('gcc', '-shared', '-fPIC', '-O1', '-o', library, ...sources).then(
    () => library,
    () => null,
  );
}
