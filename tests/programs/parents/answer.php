<?php
// A request's calls, made by the thread that answers it: one after the other, or side by side under `curl_multi`. How it is told
// what to call: see tests/src/parents/mod.rs.

function setting(string $name, string $otherwise): string {
    $value = $_SERVER[$name] ?? getenv($name);
    return $value === false || $value === '' ? $otherwise : $value;
}

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$pattern = $_GET['p'] ?? setting('PATTERN', 'sequential');
$count = (int) ($_GET['n'] ?? setting('CALLS', '0'));
$back_ends = explode(',', setting('BACKENDS', ''));
$context = $_SERVER['HTTP_TRACEPARENT'] ?? null;

$calls = [];
for ($at = 0; $at < $count; $at++) {
    $call = curl_init(sprintf('http://127.0.0.1:%s%s.%d', $back_ends[$at % count($back_ends)], $path, $at + 1));
    curl_setopt($call, CURLOPT_RETURNTRANSFER, true);
    if ($context !== null) {
        curl_setopt($call, CURLOPT_HTTPHEADER, ["traceparent: $context"]);
    }
    $calls[] = $call;
}
if ($pattern === 'parallel') {
    $all = curl_multi_init();
    foreach ($calls as $call) {
        curl_multi_add_handle($all, $call);
    }
    do {
        curl_multi_exec($all, $open);
        if ($open) {
            curl_multi_select($all);
        }
    } while ($open);
} else {
    foreach ($calls as $call) {
        if ($pattern === 'pause') {
            usleep(random_int(1000, 5000));
        }
        curl_exec($call);
    }
}
header('Content-Type: text/plain');
header('Content-Length: 2');
echo 'ok';
