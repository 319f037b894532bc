import { defineErrors } from '@escala/kit/errors/app-error.ts'

/** What the account routes respond with, beside the kit's own codes. */
export const accountErrors = defineErrors({
  E_TOKEN_INVALID: { status: 400, title: 'The token is unknown, was used, or has expired' },
})
