/* A printf that knows the conversions which guests use. */
#include "print.h"
#include "lock.h"

struct output {
	char *at, *end;
};

static struct lock print_lock;

static void put(struct output *out, char c)
{
	if (out->at < out->end)
		*out->at++ = c;
}

static void put_padded(struct output *out, const char *text, size_t len, size_t width, bool left, char fill)
{
	size_t pad = width > len ? width - len : 0, i;

	/* A sign stays before the zeros. */
	if (fill == '0' && pad && len && *text == '-') {
		put(out, *text++);
		len--;
	}
	for (i = 0; !left && i < pad; i++)
		put(out, fill);
	for (i = 0; i < len; i++)
		put(out, text[i]);
	for (i = 0; left && i < pad; i++)
		put(out, ' ');
}

/* Digits end at end; returns where they start. */
static char *put_digits(char *end, uint64_t value, unsigned base, unsigned least)
{
	while (value || least) {
		*--end = "0123456789abcdef"[value % base];
		value /= base;
		if (least)
			least--;
	}
	return end;
}

static void put_format(struct output *out, const char *format, va_list args)
{
	char digits[48], *end = digits + sizeof(digits), *start;
	const char *text;
	size_t width, precision, len;
	bool left, is_long, precise;
	double real;
	int64_t number;
	uint64_t scale;
	char fill;

	for (; *format; format++) {
		if (*format != '%') {
			put(out, *format);
			continue;
		}
		left = is_long = precise = false;
		fill = ' ';
		width = precision = 0;
		for (format++; *format == '-' || *format == '0'; format++) {
			left |= *format == '-';
			fill = *format == '0' ? '0' : fill;
		}
		for (; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (size_t)(*format - '0');
		if (*format == '.') {
			precise = true;
			for (format++; *format >= '0' && *format <= '9'; format++)
				precision = precision * 10 + (size_t)(*format - '0');
		}
		for (; *format == 'l' || *format == 'z'; format++)
			is_long = true;
		switch (*format) {
		case 'd':
			number = is_long ? va_arg(args, int64_t) : va_arg(args, int);
			start = put_digits(end, number < 0 ? -(uint64_t)number : (uint64_t)number, 10, 1);
			if (number < 0)
				*--start = '-';
			break;
		case 'u':
			start = put_digits(end, is_long ? va_arg(args, uint64_t) : va_arg(args, unsigned), 10, 1);
			break;
		case 'x':
			start = put_digits(end, is_long ? va_arg(args, uint64_t) : va_arg(args, unsigned), 16, 1);
			break;
		case 'p':
			start = put_digits(end, (uint64_t)va_arg(args, void *), 16, 1);
			*--start = 'x';
			*--start = '0';
			break;
		case 'f':
			real = va_arg(args, double);
			precision = precise ? (precision < 6 ? precision : 6) : 3;
			for (scale = 1, len = 0; len < precision; len++)
				scale *= 10;
			number = (int64_t)(real * (double)scale + (real < 0 ? -0.5 : 0.5));
			start = end;
			if (precision) {
				start = put_digits(end, (number < 0 ? -(uint64_t)number : (uint64_t)number) % scale, 10,
						   (unsigned)precision);
				*--start = '.';
			}
			start = put_digits(start, (number < 0 ? -(uint64_t)number : (uint64_t)number) / scale, 10, 1);
			if (number < 0)
				*--start = '-';
			break;
		case 'c':
			start = end - 1;
			*start = (char)va_arg(args, int);
			break;
		case 's':
			text = va_arg(args, const char *);
			for (len = 0; text[len] && (!precise || len < precision); len++)
				;
			put_padded(out, text, len, width, left, ' ');
			continue;
		case '\0':
			return;
		default:
			start = end - 1;
			*start = *format;
			break;
		}
		put_padded(out, start, (size_t)(end - start), width, left, fill);
	}
}

void print_args(const char *format, va_list args)
{
	char buffer[512];
	struct output out = {buffer, buffer + sizeof(buffer)};

	put_format(&out, format, args);
	lock_take(&print_lock);
	serial_write(buffer, (size_t)(out.at - buffer));
	lock_drop(&print_lock);
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_args(format, args);
	va_end(args);
}

size_t print_buffer_args(char *buffer, size_t size, const char *format, va_list args)
{
	struct output out = {buffer, buffer + size - 1};

	put_format(&out, format, args);
	*out.at = '\0';
	return (size_t)(out.at - buffer);
}

size_t print_buffer(char *buffer, size_t size, const char *format, ...)
{
	va_list args;
	size_t len;

	va_start(args, format);
	len = print_buffer_args(buffer, size, format, args);
	va_end(args);
	return len;
}

void print_break_lock(void)
{
	print_lock.serving = print_lock.next;
}
