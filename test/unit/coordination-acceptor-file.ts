import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import type { ConsensusMessage, ConsensusReply } from '../../src/consensus/acceptor.ts';
import { openAcceptorStore } from '../../src/coordination/embedded/acceptor-store.ts';
import type { DurableAcceptor } from '../../src/coordination/embedded/acceptor-store.ts';
import { parseNodeId } from '../../src/model/node.ts';

/** The file of an acceptor, in a folder that each test has anew. */
export interface AcceptorFile {
  readonly folder: string;
  readonly path: string;
  /** Opens it, and admits it when it is new. */
  open(node?: string, cluster?: string): Promise<DurableAcceptor>;
}

/** For the tests of the file that calls it. */
export function useAcceptorFile(): AcceptorFile {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lockstep-acceptor-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });
  return {
    get folder() {
      return folder;
    },
    get path() {
      return join(folder, 'consensus.json');
    },
    async open(node = 'a', cluster = 'shop') {
      const { path } = this;
      const store = await openAcceptorStore({ path, cluster, node: parseNodeId(node), clock: systemClock });
      if (store.isNew) await store.admit();
      return store;
    },
  };
}

export function accept(key: string, counter: number): ConsensusMessage {
  return {
    kind: 'accept',
    key,
    ballot: { counter, proposer: 'p' },
    proposal: { version: counter, value: { counter } },
  };
}

export function peek(store: DurableAcceptor, key: string): Promise<ConsensusReply> {
  return store.handle({ kind: 'peek', key });
}
