import { defineErrors } from '@escala/kit/errors/app-error.ts'

/** What the ticket shop answers with, beside the kit's own codes. */
export const ticketErrors = defineErrors({
  E_SOLD_OUT: { status: 409, title: 'There are not enough tickets left' },
  E_SALES_CLOSED: { status: 409, title: 'Tickets are not sold at the moment' },
  E_TICKET_LIMIT: { status: 409, title: 'One buyer may not have more tickets for this show' },
  E_EMAIL_NOT_VERIFIED: { status: 403, title: 'The e-mail address must be verified first' },
  E_ORDER_BUSY: { status: 409, title: 'The order is being charged; its outcome is not known yet' },
  E_CART_FULL: { status: 409, title: 'The cart has room for no other show' },
  E_CAPACITY_TOO_SMALL: { status: 409, title: 'More tickets than that are sold or held' },
  E_VERSION_MISMATCH: { status: 412, title: 'Somebody else changed it since it was read' },
  E_VERSION_MISSING: { status: 428, title: 'This change needs an If-Match header with the version that was read' },
})
