import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

/** A card as a buyer types it. The number never reaches the database. */
export interface Card {
  readonly number: string;
  /** MM/YY. */
  readonly expiry: string;
  readonly cvc: string;
}

export type Authorization =
  | {
      readonly kind: 'authorized';
      readonly reference: string;
      readonly brand: string;
      readonly last4: string;
      readonly amountCents: number;
    }
  | { readonly kind: 'declined'; readonly reason: string };

export interface CardProvider {
  /** Reserves money. The same key gives the same answer, however often it is asked. */
  authorize(key: string, card: Card, amountCents: number): Promise<Authorization>;
  /** Takes the reserved money; once, however often it is asked. */
  capture(reference: string): Promise<void>;
  /** Gives the reserved money back. A captured one stays. */
  release(reference: string): Promise<void>;
}

export interface CardProviderOptions {
  /** Same seed, same references. */
  readonly seed?: number;
  /** Time an answer takes. Default 0. */
  readonly latencyMs?: number;
}

/** Cards that the simulated provider refuses, and why. */
export const DECLINED_CARDS: Readonly<Record<string, string>> = {
  '4000000000000002': 'The card was declined by its bank.',
  '4000000000009995': 'The card has insufficient funds.',
  '4000000000000069': 'The card has expired.',
  '4000000000000127': 'The security code is not right.',
};

/** A card that always works. */
export const TEST_CARD: Card = { number: '4242 4242 4242 4242', expiry: '12/34', cvc: '123' };

/**
 * A card provider that lives in this process. Its references are derived from the key, so that they stay
 * the same when the process is started again in the middle of a payment.
 */
export function createCardProvider(options: CardProviderOptions = {}): CardProvider {
  const { seed = 1, latencyMs = 0 } = options;
  const answers = new Map<string, { amountCents: number; answer: Authorization }>();
  const captured = new Set<string>();
  const wait = async (): Promise<void> => void (latencyMs > 0 && (await delay(latencyMs)));

  return {
    async authorize(key, card, amountCents) {
      await wait();
      const known = answers.get(key);
      if (known !== undefined) {
        if (known.amountCents === amountCents) return known.answer;
        throw new Error(
          `Payment key ${key} was used for ${known.amountCents} cents before, not ${amountCents}.`,
        );
      }
      const answer = decideAuthorization(seed, key, card, amountCents);
      answers.set(key, { amountCents, answer });
      return answer;
    },
    async capture(reference) {
      await wait();
      captured.add(reference);
    },
    async release(reference) {
      await wait();
      if (captured.has(reference)) return;
      for (const [key, { answer }] of answers) {
        if (answer.kind === 'authorized' && answer.reference === reference) answers.delete(key);
      }
    },
  };
}

function decideAuthorization(seed: number, key: string, card: Card, amountCents: number): Authorization {
  const digits = card.number.replace(/[\s-]/g, '');
  if (!isCardNumber(digits)) return { kind: 'declined', reason: 'That is not a card number.' };
  const refusal = DECLINED_CARDS[digits];
  if (refusal !== undefined) return { kind: 'declined', reason: refusal };
  const reference = `ch_${createHash('sha256').update(`${seed}:${key}`).digest('hex').slice(0, 24)}`;
  return { kind: 'authorized', reference, brand: cardBrand(digits), last4: digits.slice(-4), amountCents };
}

/** Luhn's check digit. Source: ISO/IEC 7812-1, annex B. */
function isCardNumber(digits: string): boolean {
  if (!/^\d{13,19}$/.test(digits)) return false;
  let sum = 0;
  for (let index = 0; index < digits.length; index += 1) {
    const digit = Number(digits[digits.length - 1 - index]);
    const doubled = index % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

function cardBrand(digits: string): string {
  if (digits.startsWith('4')) return 'Visa';
  if (/^5[1-5]|^2[2-7]/.test(digits)) return 'Mastercard';
  if (/^3[47]/.test(digits)) return 'American Express';
  return 'Card';
}
