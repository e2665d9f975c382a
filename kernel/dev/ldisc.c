/* SPDX-License-Identifier: MIT */
/*
 * The line discipline: what happens to a byte between the wire and a reader,
 * and between a writer and the wire.
 *
 * Input, in this order: literal (after VLNEXT), ISTRIP, signals (ISIG), flow
 * control (IXON), CR and NL mapping, line editing (ICANON), echo. With all of
 * that off a byte goes into the ring and nowhere else.
 *
 * A full ring: in raw mode, or while a complete line waits, the byte is refused
 * and its source holds it. A single line that fills the whole ring could never
 * be read, so there its bytes are dropped with a bell, but for those that end it;
 * the last place of the ring is kept for such. On a serial port a byte is refused, too,
 * while what it would echo has no room (a pseudo-terminal's echo is lost then: its master
 * may well write all before it reads).
 */
#include <kernel/log.h>
#include <kernel/random.h>
#include <kernel/signal.h>

#include "base/atomic.h"
#include "kernel/dev/tty.h"
#include "kernel/fs/abi.h"

struct typed {      /* what a byte brings about, done after the lock is dropped */
	int signal; /* to the foreground group */
	bool readable, writable;
};

static bool flag(const struct tty *t, uint32_t lflag)
{
	return t->termios.lflag & lflag;
}

static bool is_cc(const struct tty *t, unsigned which, uint8_t byte)
{
	return byte == t->termios.cc[which] && byte != 0;
}

static bool ends_at(const struct tty *t, uint64_t at)
{
	at %= TTY_RING;
	return t->ends[at / 64] >> (at % 64) & 1;
}

static void set_end(struct tty *t, uint64_t at, bool on)
{
	at %= TTY_RING;
	if (on)
		t->ends[at / 64] |= 1ull << (at % 64);
	else
		t->ends[at / 64] &= ~(1ull << (at % 64));
}

/* ---- output ----------------------------------------------------------------------------- */

static void track_column(struct tty *t, uint8_t byte)
{
	if (byte == '\r')
		t->column = 0;
	else if (byte == '\b')
		t->column -= t->column > 0;
	else if (byte == '\t')
		t->column = (t->column | 7) + 1;
	else if (byte >= ' ' && byte != 0x7f && (byte & 0xc0) != 0x80)
		t->column++;
}

/* One byte as it goes out under OPOST: up to 8 bytes. */
static size_t post_process(struct tty *t, uint8_t byte, uint8_t out[8])
{
	uint32_t o = t->termios.oflag;
	size_t n = 0;
	if (byte == '\n' && (o & ONLCR)) {
		out[n++] = '\r';
		t->column = 0;
	} else if (byte == '\n' && (o & ONLRET)) {
		t->column = 0;
	} else if (byte == '\r' && (o & ONOCR) && t->column == 0) {
		return 0;
	} else if (byte == '\r' && (o & OCRNL)) {
		byte = '\n';
	} else if (byte == '\t' && (o & TABDLY) == TABDLY) {
		unsigned spaces = 8 - (t->column & 7);
		t->column += spaces;
		for (; n < spaces; n++)
			out[n] = ' ';
		return n;
	} else if ((o & OLCUC) && byte >= 'a' && byte <= 'z') {
		byte = (uint8_t)(byte - 32);
	}
	out[n++] = byte;
	track_column(t, byte);
	return n;
}

size_t ldisc_output(struct tty *t, const uint8_t *from, size_t bytes, uint8_t *to, size_t room,
		    size_t *made)
{
	size_t used = 0, n = 0;
	while (used < bytes && room - n >= 8) {
		if (t->termios.oflag & OPOST)
			n += post_process(t, from[used], to + n);
		else
			to[n++] = from[used];
		used++;
	}
	*made = n;
	return used;
}

/* ---- echo --------------------------------------------------------------------------------- */

static void echo_raw(struct tty *t, uint8_t byte)
{
	uint8_t out[8];
	size_t n = 1;
	out[0] = byte;
	if (t->termios.oflag & OPOST)
		n = post_process(t, byte, out);
	(void)t->put(t, out, n); /* no room: echo is lost, the byte is not */
}

static bool echoes_as_caret(const struct tty *t, uint8_t byte)
{
	return flag(t, ECHOCTL) && ((byte < ' ' && byte != '\t' && byte != '\n') || byte == 0x7f);
}

static void echo(struct tty *t, uint8_t byte)
{
	if (!flag(t, ECHO) && !(byte == '\n' && flag(t, ECHONL) && flag(t, ICANON)))
		return;
	if (echoes_as_caret(t, byte)) {
		echo_raw(t, '^');
		echo_raw(t, byte ^ 0100);
	} else {
		echo_raw(t, byte);
	}
}

static unsigned width_at(const struct tty *t, uint8_t byte, unsigned column)
{
	if (byte == '\t')
		return 8 - (column & 7);
	if (echoes_as_caret(t, byte))
		return 2;
	if (byte < ' ' || byte == 0x7f)
		return 0;
	if ((t->termios.iflag & IUTF8) && (byte & 0xc0) == 0x80)
		return 0;
	return 1;
}

/* Columns that the edited line up to `end` takes. */
static unsigned edit_width(const struct tty *t, uint64_t end)
{
	unsigned column = t->edit_column;
	for (uint64_t at = t->canon; at < end; at++)
		column += width_at(t, t->ring[at % TTY_RING], column);
	return column;
}

/* ---- line editing ---------------------------------------------------------------------------- */

static void rub_out(struct tty *t, unsigned columns)
{
	static const uint8_t back[3] = {'\b', ' ', '\b'};
	for (; columns; columns--) {
		(void)t->put(t, back, 3);
		t->column -= t->column > 0;
	}
}

static void step_back(struct tty *t, unsigned columns) /* over blanks */
{
	for (; columns; columns--) {
		(void)t->put(t, "\b", 1);
		t->column -= t->column > 0;
	}
}

static void erase_one(struct tty *t)
{
	if (t->head == t->canon)
		return;
	unsigned before = edit_width(t, t->head);
	uint8_t byte;
	do /* a whole UTF-8 character */
		byte = t->ring[--t->head % TTY_RING];
	while ((t->termios.iflag & IUTF8) && (byte & 0xc0) == 0x80 && t->head > t->canon);
	if (!flag(t, ECHO))
		return;
	if (flag(t, ECHOE) && byte == '\t')
		step_back(t, before - edit_width(t, t->head));
	else if (flag(t, ECHOE))
		rub_out(t, before - edit_width(t, t->head));
	else
		echo(t, t->termios.cc[VERASE]);
}

static void erase_word(struct tty *t)
{
	bool word = false;
	while (t->head > t->canon) {
		uint8_t byte = t->ring[(t->head - 1) % TTY_RING];
		bool letter = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
			      (byte >= 'A' && byte <= 'Z') || byte == '_' || byte >= 0x80;
		if (word && !letter)
			break;
		word |= letter;
		erase_one(t);
	}
}

static void erase_line(struct tty *t)
{
	bool quietly = !flag(t, ECHO) || !flag(t, ECHOK) || !flag(t, ECHOKE) || !flag(t, ECHOE);
	if (!quietly) {
		while (t->head > t->canon)
			erase_one(t);
		return;
	}
	t->head = t->canon;
	echo(t, t->termios.cc[VKILL]);
	if (flag(t, ECHOK) && flag(t, ECHO))
		echo_raw(t, '\n');
}

static void reprint(struct tty *t)
{
	echo(t, t->termios.cc[VREPRINT]);
	echo_raw(t, '\n');
	for (uint64_t at = t->canon; at < t->head; at++)
		echo(t, t->ring[at % TTY_RING]);
}

/* ---- input
 * --------------------------------------------------------------------------------------- */

static size_t used(const struct tty *t)
{
	return t->head - t->tail;
}

static void append(struct tty *t, uint8_t byte, bool end)
{
	t->ring[t->head % TTY_RING] = byte;
	set_end(t, t->head, end);
	t->head++;
}

static void line_done(struct tty *t, uint8_t byte, struct typed *out)
{
	append(t, byte, true);
	t->canon = t->head;
	out->readable = true;
}

void ldisc_flush(struct tty *t)
{
	t->tail = t->canon = t->head;
}

/* ISIG: true if the byte was a signal. */
static bool typed_signal(struct tty *t, uint8_t byte, struct typed *out)
{
	int signal = is_cc(t, VINTR, byte)   ? SIGINT
		     : is_cc(t, VQUIT, byte) ? SIGQUIT
		     : is_cc(t, VSUSP, byte) ? SIGTSTP
					     : 0;
	if (!signal)
		return false;
	if (!flag(t, NOFLSH))
		ldisc_flush(t);
	t->stopped = false;
	echo(t, byte);
	out->signal = signal;
	out->writable = true;
	return true;
}

static bool typed_flow(struct tty *t, uint8_t byte, struct typed *out)
{
	if (!(t->termios.iflag & IXON))
		return false;
	if (is_cc(t, VSTOP, byte)) {
		t->stopped = true;
		return true;
	}
	if (is_cc(t, VSTART, byte)) {
		t->stopped = false;
		out->writable = true;
		return true;
	}
	if (t->stopped && (t->termios.iflag & IXANY)) {
		t->stopped = false;
		out->writable = true;
	}
	return false;
}

/* ICANON: true if the byte was an editing command. */
static bool typed_edit(struct tty *t, uint8_t byte, struct typed *out)
{
	if (is_cc(t, VERASE, byte))
		erase_one(t);
	else if (is_cc(t, VKILL, byte))
		erase_line(t);
	else if (flag(t, IEXTEN) && is_cc(t, VWERASE, byte))
		erase_word(t);
	else if (flag(t, IEXTEN) && is_cc(t, VREPRINT, byte) && flag(t, ECHO))
		reprint(t);
	else if (is_cc(t, VEOF, byte))
		line_done(t, 0, out);
	else
		return false;
	return true;
}

static bool ends_line(const struct tty *t, uint8_t byte)
{
	return byte == '\n' || is_cc(t, VEOL, byte) || (flag(t, IEXTEN) && is_cc(t, VEOL2, byte));
}

static void take_canonical(struct tty *t, uint8_t byte, bool literal, struct typed *out)
{
	if (!literal && typed_edit(t, byte, out))
		return;
	bool end = !literal && ends_line(t, byte);
	if (!end && used(t) >= TTY_RING - 1) {
		if (t->termios.iflag & IMAXBEL)
			(void)t->put(t, "\a", 1);
		return;
	}
	if (t->head == t->canon)
		t->edit_column = t->column;
	echo(t, byte);
	if (end)
		line_done(t, byte, out);
	else
		append(t, byte, false);
}

static void take_raw(struct tty *t, uint8_t byte, struct typed *out)
{
	append(t, byte, false);
	t->canon = t->head;
	echo(t, byte);
	out->readable = true;
}

/* No room for this byte now, and there will be. */
static bool must_wait(struct tty *t)
{
	if (t->drained && flag(t, ECHO) && !t->put(t, NULL, 0))
		return true;
	if (flag(t, ICANON))
		return used(t) >= TTY_RING - 1 && t->canon > t->tail;
	return used(t) >= TTY_RING;
}

static bool map_input(const struct tty *t, uint8_t *byte)
{
	uint32_t i = t->termios.iflag;
	if (i & ISTRIP)
		*byte &= 0x7f;
	if (*byte == '\r') {
		if (i & IGNCR)
			return false;
		if (i & ICRNL)
			*byte = '\n';
	} else if (*byte == '\n' && (i & INLCR)) {
		*byte = '\r';
	}
	if ((i & IUCLC) && flag(t, IEXTEN) && *byte >= 'A' && *byte <= 'Z')
		*byte = (uint8_t)(*byte + 32);
	return true;
}

static void take(struct tty *t, uint8_t byte, struct typed *out)
{
	bool literal = t->literal;
	t->literal = false;
	if (!literal) {
		uint8_t plain = (t->termios.iflag & ISTRIP) ? byte & 0x7f : byte;
		if (flag(t, ISIG) && typed_signal(t, plain, out))
			return;
		if (typed_flow(t, plain, out))
			return;
		if (!map_input(t, &byte))
			return;
		if (flag(t, ICANON) && flag(t, IEXTEN) && is_cc(t, VLNEXT, byte)) {
			t->literal = true;
			if (flag(t, ECHO) && flag(t, ECHOCTL))
				(void)t->put(t, "^\b", 2);
			return;
		}
	}
	if (flag(t, ICANON))
		take_canonical(t, byte, literal, out);
	else
		take_raw(t, byte, out);
}

bool tty_input(struct tty *t, uint8_t byte)
{
	struct typed out = {0};
	unsigned long irq = mem_lock_irq(&t->lock, TTY_RANK);
	bool room = !must_wait(t);
	/* A full terminal must still hear its interrupt key. */
	if (!room && flag(t, ISIG) && (is_cc(t, VINTR, byte) || is_cc(t, VQUIT, byte)))
		room = true;
	if (room)
		take(t, byte, &out);
	else
		t->refused = true;
	mem_unlock_irq(&t->lock, TTY_RANK, irq);
	if (out.signal)
		tty_signal(t, out.signal);
	if (out.readable)
		waitq_wake_all(&t->readable);
	if (out.writable)
		waitq_wake_all(&t->writable);
	return room;
}

/* ---- reading
 * ------------------------------------------------------------------------------------------ */

size_t ldisc_available(const struct tty *t)
{
	return atomic_read_relaxed(&t->canon) - atomic_read_relaxed(&t->tail);
}

size_t ldisc_take(struct tty *t, uint8_t *to, size_t room, bool *line_end)
{
	size_t n = 0;
	*line_end = false;
	while (n < room && t->tail < t->canon && !*line_end) {
		uint64_t at = t->tail++;
		uint8_t byte = t->ring[at % TTY_RING];
		*line_end = flag(t, ICANON) && ends_at(t, at);
		if (*line_end && byte == 0)
			break; /* VEOF: ends the read, is not read */
		to[n++] = byte;
	}
	/* A line that just fit the buffer: its VEOF must not be the next read's end
	 * of file. */
	if (n && n == room && !*line_end && t->tail < t->canon && flag(t, ICANON) &&
	    ends_at(t, t->tail) && !t->ring[t->tail % TTY_RING]) {
		t->tail++;
		*line_end = true;
	}
	return n;
}

/* Leaving canonical mode makes the half-edited line readable; entering it makes
 * what is there one line. */
void ldisc_mode_changed(struct tty *t, const struct termios *old)
{
	if (!((old->lflag ^ t->termios.lflag) & ICANON))
		return;
	t->canon = t->head;
	t->literal = false;
	if (flag(t, ICANON) && t->head > t->tail)
		set_end(t, t->head - 1, true);
}
