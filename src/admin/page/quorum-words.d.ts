import type { QuorumPicture } from '../quorum.ts';

export function describeQuorum(quorum: QuorumPicture): {
  tone: 'good' | 'warn' | 'bad';
  text: string;
};
export function missingAt(quorum: QuorumPicture, name: string): number;
export function describeRepairs(before: QuorumPicture, now: QuorumPicture): string[];
