import { z } from 'zod';
import { MAX_QUANTITY } from './carts.ts';
import type { Card } from './card-provider.ts';
import { SORTS } from './catalog.ts';
import type { Sort } from './catalog.ts';

interface ListInput {
  readonly q?: string | undefined;
  readonly category?: string | undefined;
  readonly sort?: Sort | undefined;
  readonly page?: number | undefined;
}

interface ReviewInput {
  readonly rating: number;
  readonly title: string;
  readonly body: string;
}

interface SignInInput {
  readonly email: string;
  readonly password: string;
}

interface CheckoutInput {
  readonly orderKey: string;
  readonly shipTo: string;
  readonly card: Card;
}

/** What visitors and API callers send. Numbers may come as text, from forms and query strings. */
export const productIdInput: z.ZodType<number> = z.coerce
  .number()
  .int()
  .positive()
  .max(Number.MAX_SAFE_INTEGER);

export const pageInput: z.ZodType<number> = z.coerce.number().int().min(1).max(100_000);

export const listInput: z.ZodType<ListInput> = z.object({
  q: z.string().trim().max(100).optional(),
  category: z
    .string()
    .regex(/^[a-z]{1,30}$/)
    .optional(),
  sort: z.enum(SORTS).optional(),
  page: pageInput.optional(),
});

export const addInput: z.ZodType<{ readonly productId: number; readonly quantity: number }> = z.object({
  productId: productIdInput,
  quantity: z.coerce.number().int().min(1).max(MAX_QUANTITY).default(1),
});

export const quantityInput: z.ZodType<{ readonly quantity: number }> = z.object({
  quantity: z.coerce.number().int().min(0).max(MAX_QUANTITY),
});

export const reviewInput: z.ZodType<ReviewInput> = z.object({
  rating: z.coerce.number().int().min(1).max(5),
  title: z.string().trim().min(1).max(120),
  body: z.string().trim().min(1).max(4000),
});

export const accountInput: z.ZodType<SignInInput & { readonly name: string }> = z.object({
  email: z.email().max(200),
  name: z.string().trim().min(1).max(80),
  password: z.string().min(8).max(200),
});

export const signInInput: z.ZodType<SignInInput> = z.object({
  email: z.string().trim().max(200),
  password: z.string().max(200),
});

const cardInput: z.ZodType<Card> = z.object({
  number: z
    .string()
    .trim()
    .regex(/^[\d\s-]{12,25}$/, 'Enter the digits on the front of the card'),
  expiry: z.string().regex(/^(0[1-9]|1[0-2])\s*\/\s*\d{2}$/, 'Write it as MM/YY'),
  cvc: z.string().regex(/^\d{3,4}$/, 'Three or four digits'),
});

export const checkoutInput: z.ZodType<CheckoutInput> = z.object({
  orderKey: z.uuid(),
  shipTo: z.string().trim().min(5, 'Write name, street and town').max(400),
  card: cardInput,
});

/** One sentence per thing that is wrong, for people. */
export function describeProblems(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.join('.') || 'input'}: ${issue.message}`).join('; ');
}
