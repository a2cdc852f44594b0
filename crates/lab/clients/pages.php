<?php
// Pages of a shop as WordPress and WooCommerce serve them: each connects for itself (mysqli), writes an order as a row
// of autocommit statements, and treats errors as `wpdb` does: a connection that cannot be made ends the page; a statement
// that fails with 2006 ("server has gone away", also what a closed socket looks like) is run again once a new connection
// is made, at most five tries a second apart; every other error fails the page
// (https://developer.wordpress.org/reference/classes/wpdb/check_connection/).
//
// usage: php pages.php HOST PORT USER PASSWORD DATABASE WORKER SECONDS
// Prints one line of JSON per page: when it began, how long it took, how it ended.

[, $host, $port, $user, $password, $database, $worker, $seconds] = $argv;
mysqli_report(MYSQLI_REPORT_OFF);

const ITEMS = 3;
const RECONNECTS = 5;

final class Page
{
    private ?mysqli $db = null;
    public int $retries = 0;
    public string $error = '';

    public function __construct(private array $login)
    {
    }

    public function connect(): bool
    {
        $db = mysqli_init();
        if (!@$db->real_connect(...$this->login)) {
            $this->error = "connect: {$db->connect_errno} {$db->connect_error}";
            return false;
        }
        $this->db = $db;
        return true;
    }

    // As wpdb::query: false means that the page shows an error.
    public function query(string $sql): bool
    {
        if (@$this->db->query($sql) !== false) {
            return true;
        }
        $this->error = "{$this->db->errno} {$this->db->error}";
        if ($this->db->errno !== 2006 || !$this->check_connection()) {
            return false;
        }
        $this->retries++;
        if (@$this->db->query($sql) !== false) {
            return true;
        }
        $this->error = "again: {$this->db->errno} {$this->db->error}";
        return false;
    }

    // As wpdb::check_connection.
    private function check_connection(): bool
    {
        if (@$this->db->query('DO 1') !== false) {
            return true;
        }
        for ($tries = 1; $tries <= RECONNECTS; $tries++) {
            if ($this->connect()) {
                return true;
            }
            sleep(1);
        }
        return false;
    }

    public function close(): void
    {
        @$this->db?->close();
    }
}

$until = microtime(true) + (float) $seconds;
for ($number = 0; microtime(true) < $until; $number++) {
    $began = microtime(true);
    $reference = "$worker-$number";
    $page = new Page([$host, $user, $password, $database, (int) $port]);
    $connected = $page->connect();
    $ok = $connected && $page->query("INSERT INTO carts (reference, status) VALUES ('$reference', 'new')");
    for ($item = 0; $ok && $item < ITEMS; $item++) {
        $ok = $page->query("INSERT INTO items (reference, item) VALUES ('$reference', $item)");
    }
    $ok = $ok && $page->query("UPDATE carts SET status = 'paid' WHERE reference = '$reference'");
    if ($connected) {
        $page->close();
    }
    echo json_encode([
        'reference' => $reference,
        'began' => $began,
        'ms' => round((microtime(true) - $began) * 1000, 3),
        'connected' => $connected,
        'ok' => $ok,
        'retries' => $page->retries,
        'error' => $page->error,
    ]), "\n";
}
