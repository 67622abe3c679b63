package shop;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.web.servlet.context.ServletWebServerInitializedEvent;
import org.springframework.context.event.EventListener;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.RestController;

/** Prints its port, and answers until it is killed. */
@SpringBootApplication
public class Shop {
    public static void main(String[] args) {
        SpringApplication.run(Shop.class, args);
    }

    @EventListener
    void listening(ServletWebServerInitializedEvent event) {
        System.out.println("listening " + event.getWebServer().getPort());
    }

    @RestController
    @RequestMapping("/users")
    public static class Users {
        @GetMapping
        String all() {
            return "all";
        }

        @GetMapping("/{user}/orders/{order:[0-9]+}")
        String order(@PathVariable("user") String user, @PathVariable("order") int order) {
            return user + order;
        }

        @GetMapping("/me")
        String me() {
            return "me";
        }

        @GetMapping("/{user}")
        String one(@PathVariable("user") String user) {
            return user;
        }
    }
}
