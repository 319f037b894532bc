import { defineErrors } from '@escala/kit/errors/app-error'

/** Errors of the ticket shop, in addition to the kit's own. */
export const ticketErrors = defineErrors({
  E_SOLD_OUT: { status: 409, title: 'There are not enough tickets left' },
  E_SALES_CLOSED: { status: 409, title: 'Ticket sales are currently closed' },
  E_TICKET_LIMIT: { status: 409, title: 'This buyer has reached the ticket limit for this show' },
  E_EMAIL_NOT_VERIFIED: { status: 403, title: 'The e-mail address must be verified first' },
  E_ORDER_BUSY: { status: 409, title: 'An order is being charged or refunded; its outcome is not known yet' },
  E_CART_FULL: { status: 409, title: 'The cart cannot hold any more shows' },
  E_CAPACITY_TOO_SMALL: { status: 409, title: 'More tickets than that are already sold or held' },
  E_VERSION_MISMATCH: { status: 412, title: 'It has changed since it was read' },
  E_VERSION_MISSING: { status: 428, title: 'This change requires an If-Match header with the version that was read' },
})
