import { kitErrors } from '@escala/kit/errors/errors'
import { withoutControls } from '@escala/kit/http/fields'
import { z } from 'zod'
import { isCommonPassword } from './common-passwords.ts'

/** NIST SP 800-63B: length and a list of common ones, no rules of composition. */
export const newPassword = withoutControls(z.string().min(8).max(200)).refine(
  (password) => !isCommonPassword(password),
  'one of the most common passwords',
)

/** Refuses (`E_VALIDATION`) a new password that is the user's address, the part before its `@`, or name, alone or with digits and signs around it. */
export function refuseOwnWords(password: string, { email, name = '' }: { email: string; name?: string }): void {
  const words = [email, email.split('@', 1)[0] ?? '', name].map(bare).filter((word) => word !== '')
  if (words.includes(bare(password))) {
    throw kitErrors.E_VALIDATION({ fields: { password: "the user's own name or address" } })
  }
}

function bare(text: string): string {
  const letters = [...text.normalize('NFC').toLowerCase()]
  const isLetter = (character: string) => /\p{L}/u.test(character)
  return letters.slice(letters.findIndex(isLetter), letters.findLastIndex(isLetter) + 1).join('')
}
