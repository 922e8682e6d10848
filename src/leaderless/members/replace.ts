import { LockstepError } from '../../model/errors.ts';
import { createUrlClient } from '../../wire/url-client.ts';
import { addressIn } from '../core/address.ts';
import { inspectQuorum } from '../inspect.ts';
import { prepareToJoin } from '../nodes/identity.ts';
import type { NamedNode } from '../options.ts';
import { quorum } from '../quorum.ts';
import { systemRuntime } from '../runtime.ts';

export interface Replacement {
  /** All servers of the quorum, whoever answers. */
  readonly nodes: readonly NamedNode[];
  /** The name of the one that goes. */
  readonly leaving: string;
  /** An empty server that comes instead; missing, the one that goes is emptied and comes back. */
  readonly by?: NamedNode;
  readonly deadlineMs: number;
  readonly onStep?: (what: string) => void;
}

/**
 * Replaces one server by another, or empties and refills it, while clients work. Throws CONFIG_INVALID when the others are no quorum, or
 * the new server holds other data; QUORUM_NOT_REACHED (retryable) when it did not end in time: run it again.
 */
export async function replaceNode(
  replacement: Replacement,
): Promise<{ readonly members: readonly string[] }> {
  const { nodes, leaving, by, deadlineMs, onStep } = replacement;
  const goes = nodes.find(({ name }) => name === leaving);
  if (goes === undefined) throw new LockstepError('CONFIG_INVALID', `There is no server "${leaving}".`);
  const seen = await inspectQuorum(nodes);
  const others = seen.nodes.filter(({ name, state }) => name !== leaving && state === 'up');
  if (!seen.isFounded || others.length < seen.quorum)
    throw new LockstepError(
      'CONFIG_INVALID',
      `The other servers are no quorum: ${others.length} of ${seen.quorum} are up. Start them first; nothing was changed.`,
    );
  const opened = await quorum({ nodes, catchUpEveryMs: 60_000 });
  try {
    const ids = new Set(others.map(({ id }) => id));
    const left = opened.members.filter((id) => !ids.has(id));
    const own = seen.nodes.find(({ name }) => name === leaving)?.id ?? null;
    const goesId = own !== null && left.includes(own) ? own : left.length === 1 ? left[0] : undefined;
    if (goesId === undefined)
      throw new LockstepError(
        'CONFIG_INVALID',
        `It cannot be told which member ${leaving} is while others are down too; start these first.`,
      );
    const comes = by ?? goes;
    onStep?.(`${comes.name} is made ready`);
    const id = await prepare(comes, by === undefined);
    const name = by === undefined ? `${leaving} (refilled)` : by.name;
    const members = [...opened.members.filter((member) => member !== goesId), id].toSorted();
    const options = { deadlineMs, ...(onStep === undefined ? {} : { onStep }) };
    await opened.changeMembers(
      { members, addresses: { [id]: addressIn(comes.url) } },
      [{ id, name, url: comes.url }],
      options,
    );
    return { members: opened.members };
  } finally {
    await opened.close();
  }
}

/** What the server is to be called among the members. One that was made ready before keeps its name. */
async function prepare({ name, url }: NamedNode, isWiped: boolean): Promise<string> {
  const client = createUrlClient({
    connectionString: url,
    application_name: 'lockstep leaderless node',
    options: '-c search_path=pg_catalog -c role=none',
  });
  try {
    await client.connect();
    const { id, isInRecovery } = await prepareToJoin(client, name, systemRuntime.uniqueName(), isWiped);
    if (isInRecovery)
      throw new LockstepError('CONFIG_INVALID', `${name} is a follower; name a server that takes writes.`);
    return id;
  } finally {
    await client.end().catch(() => undefined);
  }
}
