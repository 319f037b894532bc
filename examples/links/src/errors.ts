import { defineErrors } from '@escala/kit/errors/app-error'

/** Explained in the README of this folder. */
export const linkErrors = defineErrors({
  E_LINK_DOMAIN_BUSY: { status: 409, title: 'This domain is being verified by another request' },
  E_LINK_DOMAIN_RECORD: { status: 409, title: 'The domain does not have the DNS record that proves who owns it' },
  E_LINK_DOMAIN_TAKEN: { status: 409, title: 'The domain belongs to another user' },
})
