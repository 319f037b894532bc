import { randomInt } from 'node:crypto'

// Without 0, O, 1, I and l, which people confuse.
const letters = '23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const length = 8

/** A code that cannot be guessed: one of 57^8. */
export const newCode = () => Array.from({ length }, () => letters[randomInt(letters.length)]).join('')

export const codePattern = new RegExp(`^[${letters}]{${length}}$`)
