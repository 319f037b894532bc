import { defineErrors } from '@escala/kit/errors/app-error'

/** What the account routes respond with, beside the kit's own codes. */
export const accountErrors = defineErrors({
  E_TOKEN_INVALID: { status: 400, title: 'The token is unknown, was used, or has expired' },
  E_PASSWORD_REQUIRED: { status: 403, title: 'This needs the password, or a log-in within the last ten minutes' },
  E_TOO_MANY_TOKENS: { status: 409, title: 'The user has as many tokens as are allowed' },
})
