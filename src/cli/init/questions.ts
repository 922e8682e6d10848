import { createInterface } from 'node:readline/promises';

/** Asks a person one thing; an empty answer is the preset. */
export type Ask = (question: string, preset: string) => Promise<string>;

/** What `lockstep init` needs and was not told. */
export interface Answers {
  readonly name: string;
  readonly nodes: readonly string[];
  readonly witness: string | null;
  readonly allow: readonly string[];
}

/** Asks for a cluster, one line at a time. */
export async function askForCluster(ask: Ask): Promise<Answers> {
  const name = await ask('Name of the cluster', 'main');
  const nodes: string[] = [];
  for (;;) {
    const number = nodes.length + 1;
    const question = `Address of server ${number}, where the others and your app reach it${number > 1 ? ' (empty: no more)' : ''}`;
    const host = (await ask(question, '')).trim();
    if (host === '' && nodes.length > 0) break;
    if (host !== '') nodes.push(`n${number}=${host}`);
  }
  const witness =
    nodes.length === 2
      ? (
          await ask(
            'Address of a third machine that only votes, so that one of two may fail (empty: none)',
            '',
          )
        ).trim()
      : '';
  const allowed = await ask(
    'Networks that your app connects from, e.g. 10.0.0.0/24 (empty: these servers only)',
    '',
  );
  return {
    name,
    nodes,
    witness: witness === '' ? null : `w1=${witness}`,
    allow: allowed.split(/[,\s]+/).filter(Boolean),
  };
}

/** On the terminal. `task` is given the questions; they end with it. */
export async function withTerminal<T>(task: (ask: Ask) => Promise<T>): Promise<T> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await task(async (question, preset) => {
      const answer = await terminal.question(`${question}${preset === '' ? '' : ` [${preset}]`}: `);
      return answer.trim() === '' ? preset : answer.trim();
    });
  } finally {
    terminal.close();
  }
}
