/* `pagoda top`: asks the daemon again and again, and shows top_view.h's lines, by ncurses or, with --batch, as plain text. */
#include <errno.h>
#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/top_view.h"
#include "cli/words.h"

struct answers {
	json_t *host, *guests, *nodes, *why;
};

static void drop(struct answers *a)
{
	json_decref(a->host);
	json_decref(a->guests);
	json_decref(a->nodes);
	json_decref(a->why);
	memset(a, 0, sizeof(*a));
}

/* Returns 0, or -errno with a sentence: the daemon is gone. What it cannot say (-EREMOTE) is left out. */
static int ask(struct client *client, const char *command, json_t *arguments, json_t **answer, struct error *err)
{
	int ret = client_ask(client, command, arguments, answer, err);
	return ret == -EREMOTE ? 0 : ret;
}

static int look(struct client *client, const struct top_view *v, struct answers *a, struct error *err)
{
	drop(a);
	int ret = ask(client, "host", NULL, &a->host, err);
	if (ret == 0)
		ret = ask(client, "list", NULL, &a->guests, err);
	if (ret == 0 && v->page == TOP_NODES)
		ret = ask(client, "nodes", NULL, &a->nodes, err);
	if (ret == 0 && v->page == TOP_EXPLAIN && *v->guest)
		ret = ask(client, "explain", json_pack("{s:s}", "guest", v->guest), &a->why, err);
	return ret;
}

static void make(struct top_view *v, const struct answers *a)
{
	char text[32] = "";
	time_t now = time(NULL);
	struct tm tm;
	if (localtime_r(&now, &tm))
		strftime(text, sizeof(text), "%H:%M:%S", &tm);
	v->host = a->host;
	v->guests = a->guests;
	v->nodes = a->nodes;
	v->why = a->why;
	top_view_make(v, text);
}

static int run_batch(struct client *client, struct top_view *v, double delay, long count)
{
	struct answers a = {.host = NULL};
	struct error err = {0};
	int ret = 0;
	for (long i = 0; ret == 0 && (count == 0 || i < count); i++) {
		if (i)
			usleep((useconds_t)(delay * 1e6));
		ret = look(client, v, &a, &err);
		if (ret)
			break;
		make(v, &a);
		for (size_t k = 0; k < v->nr_lines; k++)
			puts(v->lines[k].text);
		puts("");
		if (fflush(stdout) != 0)
			break;
	}
	drop(&a);
	return ret ? cli_fail(&err) : EXIT_OK;
}

static void draw(const struct top_view *v)
{
	static const attr_t attributes[] = {A_NORMAL, A_BOLD, A_REVERSE, A_BOLD | A_UNDERLINE, A_BOLD | A_STANDOUT};
	size_t first = 0;
	erase();
	/* The selected line is kept in sight; the first lines, up to the header, always are. */
	for (size_t i = 0; i < v->nr_lines; i++)
		if (v->lines[i].kind == TOP_SELECTED && i >= (size_t)LINES)
			first = i + 1 - (size_t)LINES;
	for (size_t i = 0; i < v->nr_lines; i++) {
		size_t row = i < 5 ? i : i - first;
		if (i >= 5 && i < 5 + first)
			continue;
		if (row >= (size_t)LINES)
			break;
		attrset(attributes[v->lines[i].kind]);
		mvaddnstr((int)row, 0, v->lines[i].text, COLS);
	}
	attrset(A_NORMAL);
	refresh();
}

static unsigned nr_columns(void)
{
	unsigned n = 0;
	while (top_column_name(n))
		n++;
	return n;
}

/* Returns false for the end. *again: the daemon is to be asked at once. */
static bool take_key(struct top_view *v, int key, double *delay, bool *again)
{
	unsigned nr = nr_columns();
	enum top_page page = v->page;
	switch (key) {
	case 'q':
	case 3:
		return false;
	case KEY_UP:
	case 'k':
		v->selected -= v->selected > 0;
		break;
	case KEY_DOWN:
	case 'j':
		v->selected++;
		break;
	case KEY_LEFT:
		v->sort = (v->sort + nr - 1) % nr;
		break;
	case KEY_RIGHT:
		v->sort = (v->sort + 1) % nr;
		break;
	case 'r':
		v->reverse = !v->reverse;
		break;
	case 'g':
		page = TOP_GUESTS;
		break;
	case 'n':
		page = TOP_NODES;
		break;
	case 'e':
	case '\n':
		page = TOP_EXPLAIN;
		break;
	case 'h':
	case '?':
		page = TOP_HELP;
		break;
	case '+':
		*delay *= 2;
		break;
	case '-':
		*delay = *delay > 0.2 ? *delay / 2 : 0.1;
		break;
	case ' ':
		*again = true;
		break;
	default:
		break;
	}
	*again |= page != v->page;
	v->page = page;
	return true;
}

static int run_screen(struct client *client, struct top_view *v, double delay)
{
	struct answers a = {.host = NULL};
	struct error err = {0};
	bool going = true;
	int ret;
	setlocale(LC_ALL, "");
	initscr();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	while (going && (ret = look(client, v, &a, &err)) == 0) {
		double end = clock_now_s() + delay;
		for (bool again = false; going && !again;) {
			make(v, &a);
			draw(v);
			double left = end - clock_now_s();
			if (left <= 0)
				break;
			timeout((int)(left * 1000) + 1);
			int key = getch();
			if (key == ERR)
				break;
			going = take_key(v, key, &delay, &again);
		}
	}
	endwin();
	drop(&a);
	return ret ? cli_fail(&err) : EXIT_OK;
}

int cmd_top(struct cli *cli, int argc, char **argv)
{
	bool batch = false;
	const char *delay = "2", *count = NULL, *sort = "GRANT";
	const struct word_option options[] = {{"--batch", &batch, NULL},
					      {"--delay=", NULL, &delay},
					      {"--count=", NULL, &count},
					      {"--sort=", NULL, &sort},
					      {NULL, NULL, NULL}};
	json_t *host;
	char *end;
	if (words_take(argc, argv, options) != 0)
		return argv[1] ? cli_usage("top", "%s: nothing follows this command", argv[1]) : EXIT_USAGE;
	double seconds = strtod(delay, &end);
	if (end == delay || *end || seconds < 0.1 || seconds > 3600)
		return cli_usage("top", "--delay: \"%s\" is not 0.1 to 3600 seconds", delay);
	long times = count ? strtol(count, &end, 10) : 0;
	if (count && (end == count || *end || times < 1))
		return cli_usage("top", "--count: \"%s\" is not a number from 1 on", count);
	int column = top_column_find(sort);
	if (column < 0)
		return cli_usage("top", "--sort: there is no column \"%s\"", sort);
	/* Who cannot be reached says so before the screen is taken. */
	int ret = cli_ask(cli, "host", NULL, &host);
	if (ret)
		return ret;
	json_decref(host);
	struct top_view view = {.sort = (unsigned)column};
	if (batch || count || !isatty(STDOUT_FILENO))
		ret = run_batch(cli->client, &view, seconds, times ? times : batch ? 0 : 1);
	else
		ret = run_screen(cli->client, &view, seconds);
	top_view_free(&view);
	return ret;
}
