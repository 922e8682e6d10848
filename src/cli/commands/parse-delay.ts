import { InvalidArgumentError } from 'commander';
import { checkDelay } from '../../leader-follower/delayed/core/delay.ts';

/** An option's delay of a node, as it stands; refused with what to write before anything is started or asked. */
export function parseDelay(text: string): string {
  try {
    checkDelay(text);
    return text;
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}
