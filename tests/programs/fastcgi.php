<?php
// Answers as it is asked: /missing is not there, /large is, /upload says how much came.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/missing') {
    http_response_code(404);
    echo 'no';
} elseif ($path === '/large') {
    echo str_repeat('x', 300000);
} elseif ($path === '/upload') {
    echo strlen(file_get_contents('php://input'));
} elseif ($path === '/away') {
    header('Location: /elsewhere');
} elseif ($path === '/wrong') {
    http_response_code(500);
    trigger_error('secret', E_USER_WARNING);
} else {
    echo 'hello';
}
