import { randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { LockstepError } from '../model/errors.ts';
import type { NodeId } from '../model/node.ts';
import { createNewsSigner } from '../news/signature.ts';
import type { NewsSigner } from '../news/signature.ts';
import {
  answerCode,
  digestOf,
  isSameCode,
  lineCode,
  linkKey,
  newsSeed,
  requestCode,
  sealKey,
} from './seal-codes.ts';
import type { RequestSeal } from './seal-codes.ts';

/** The answer's header; the request's is Authorization, with this scheme. */
export const SEAL_HEADER = 'lockstep-seal';
const SCHEME = 'Lockstep';

/** In whose name people ask: no node can have it. */
export const OPERATOR = '@operator';

/** The status that the code of a link's answer is over. */
const SWITCHING_PROTOCOLS = 101;

/** Only the few requests that do something each time they come are remembered. */
const REMEMBERED = 1_000;

export interface AgentRequest {
  readonly to: NodeId;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body: string;
}

/** A request of another agent, or of a person, that was proved to be one, for this node. Its body is yet to be read. */
export interface HeardRequest {
  readonly from: string;
  readonly isOperator: boolean;
  readonly nonce: string;
  /** Throws CONFIG_INVALID for another body than the one that was sealed. */
  checkBody(body: string): void;
  /** False when this very request was heard before, among the last {@link REMEMBERED} that were asked this. */
  isFirst(): boolean;
  /** Value of {@link SEAL_HEADER} for the answer. */
  sealAnswer(status: number, body: string): string;
  /** The same for an answer that opens a link. */
  openLink(): { readonly header: string; readonly lines: LineSeal };
}

/** A request of this agent. */
export interface SealedRequest {
  /** Value of the Authorization header. */
  readonly authorization: string;
  /** Throws CONFIG_INVALID unless the answer comes from the agent that was asked, and to this very request. */
  checkAnswer(header: string | null | undefined, status: number, body: string): void;
  /** The same for an answer that opens a link. */
  acceptLink(header: string | null | undefined): LineSeal;
}

/** One agent's side of the proof, both ways, that agents know their cluster's secrets; see seal-codes.ts. */
export class AgentSeal {
  readonly #self: NodeId | typeof OPERATOR;
  readonly #nodes: readonly NodeId[];
  readonly #key: KeyObject;
  readonly #heard = new Set<string>();

  constructor(options: {
    readonly self: NodeId | typeof OPERATOR;
    /** Of the cluster, this one included. */
    readonly nodes: readonly NodeId[];
    readonly cluster: string;
    readonly secrets: { readonly agent: string; readonly superuser: string };
  }) {
    this.#self = options.self;
    this.#nodes = options.nodes;
    this.#key = sealKey(options.cluster, options.secrets);
  }

  /** `challenge`: what the agent asked for gave out, where it wants one. */
  seal({ to, method, path, body }: AgentRequest, challenge?: string): SealedRequest {
    const key = this.#key;
    const nonce = challenge === undefined ? newNonce() : `${challenge}.${newNonce()}`;
    const seal: RequestSeal = { from: this.#self, to, nonce, digest: digestOf(body) };
    const check = (header: string | null | undefined, expected: (rest: string) => string): void => {
      const [code = '', rest = ''] = (header ?? '').split(' ');
      if (!isSameCode(code, expected(rest))) throw untrusted(to);
    };
    return {
      authorization: [SCHEME, seal.from, to, nonce, seal.digest, requestCode(key, seal, method, path)].join(
        ' ',
      ),
      checkAnswer: (header, status, answer) => check(header, () => answerCode(key, seal, status, answer)),
      acceptLink: (header) => {
        const answerNonce = header?.split(' ')[1] ?? '';
        check(header, (rest) => answerCode(key, seal, SWITCHING_PROTOCOLS, rest));
        return new LineSeal(linkKey(key, seal, answerNonce), 'opener');
      },
    };
  }

  /**
   * Throws CONFIG_INVALID with what is wrong unless the request is another agent's, or a person's, for this one. It takes
   * the header alone, so that nothing more is read from who cannot prove itself.
   */
  hear(authorization: string | undefined, method: string, path: string): HeardRequest {
    const [scheme, from = '', to = '', nonce = '', digest = '', code = ''] = (authorization ?? '').split(' ');
    if (scheme !== SCHEME) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `${path} is for the agents of this cluster, and for who has its cluster.json.`,
      );
    }
    const key = this.#key;
    const seal: RequestSeal = { from, to, nonce, digest };
    if (!isSameCode(code, requestCode(key, seal, method, path))) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `Refused a request in the name of ${this.#nameOf(from)}: it does not know this cluster's secrets. Give all nodes the same "id" and "secrets" in cluster.json.`,
      );
    }
    if (to !== this.#self) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `Refused a request of ${this.#nameOf(from)}: it was meant for ${this.#nameOf(to)}, and this is ${this.#self}. Correct "host" and "agentPort" of ${this.#nameOf(to)} in cluster.json.`,
      );
    }
    return {
      from,
      isOperator: from === OPERATOR,
      nonce,
      checkBody: (body) => {
        if (isSameCode(digest, digestOf(body))) return;
        throw new LockstepError(
          'CONFIG_INVALID',
          `Refused a request of ${this.#nameOf(from)}: its body was changed on the way.`,
        );
      },
      isFirst: () => this.#isFirst(nonce),
      sealAnswer: (status, answer) => answerCode(key, seal, status, answer),
      openLink: () => {
        const answerNonce = newNonce();
        return {
          header: `${answerCode(key, seal, SWITCHING_PROTOCOLS, answerNonce)} ${answerNonce}`,
          lines: new LineSeal(linkKey(key, seal, answerNonce), 'other'),
        };
      },
    };
  }

  /** Of what this cluster's agents tell everyone. */
  newsSigner(): NewsSigner {
    return createNewsSigner(newsSeed(this.#key));
  }

  #isFirst(nonce: string): boolean {
    if (this.#heard.has(nonce)) return false;
    this.#heard.add(nonce);
    const [oldest = ''] = this.#heard;
    if (this.#heard.size > REMEMBERED) this.#heard.delete(oldest);
    return true;
  }

  /** Anyone may claim any name: in errors and events there are only those of the cluster. */
  #nameOf(text: string): string {
    if (text === OPERATOR) return 'the operator';
    return this.#nodes.find((node) => node === text) ?? 'an unknown node';
  }
}

/** What readers know a cluster's agents by; no secret. */
export function newsKeyOf(cluster: string, secrets: Parameters<typeof sealKey>[1]): string {
  return createNewsSigner(newsSeed(sealKey(cluster, secrets))).publicKey;
}

/** Seals the lines of one link: none can be changed, repeated, left out or sent back. */
export class LineSeal {
  readonly #key: KeyObject;
  readonly #side: 'opener' | 'other';
  #sent = 0;
  #received = 0;

  constructor(key: KeyObject, side: 'opener' | 'other') {
    this.#key = key;
    this.#side = side;
  }

  seal(line: string): string {
    return `${lineCode(this.#key, this.#side, this.#sent++, line)} ${line}`;
  }

  /** What the other side sealed. Throws CONFIG_INVALID for anything else. */
  open(sealed: string): string {
    const space = sealed.indexOf(' ');
    const line = sealed.slice(space + 1);
    const other = this.#side === 'opener' ? 'other' : 'opener';
    if (isSameCode(sealed.slice(0, space), lineCode(this.#key, other, this.#received++, line))) return line;
    throw new LockstepError(
      'CONFIG_INVALID',
      'A link between agents carried a line that none of them wrote.',
    );
  }
}

/** The other side does not trust this node. */
export function refusedBy(node: NodeId): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `${node} refuses this node: their "id" or "secrets" in cluster.json differ, or another node answers at the address of ${node}; the events of that node tell.`,
  );
}

function untrusted(node: NodeId): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `Who answers at the address of ${node} does not know this cluster's secrets, and is not listened to. See what runs there, and that all nodes have the same "id" and "secrets" in cluster.json.`,
  );
}

function newNonce(): string {
  return randomBytes(16).toString('base64url');
}
