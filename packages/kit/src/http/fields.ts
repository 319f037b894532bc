import { z } from 'zod'

/** One line of text: trimmed, not empty, and without control characters, NUL among them, which Postgres cannot store, and halves of characters. */
export function line(maxLength: number) {
  return withoutControls(z.string().trim().min(1).max(maxLength))
}

/** Half of a surrogate pair is refused too: in UTF-8 each becomes U+FFFD, so that texts, and passwords, that differ would be the same. */
export function withoutControls(schema: z.ZodString) {
  return schema.regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must have no control characters, and no half of a surrogate pair')
}

const [firstInstant, lastInstant] = ['1970-01-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z'].map(Date.parse) as [
  number,
  number,
]

/** A point in time with its offset, between 1970 and 9999 in UTC: an offset can move what looks like 9999 into the year 10000. */
export function instant() {
  return z.iso.datetime({ offset: true }).refine((text) => {
    const at = Date.parse(text)
    return at >= firstInstant && at <= lastInstant
  }, 'must be between 1970 and 9999, in UTC')
}
