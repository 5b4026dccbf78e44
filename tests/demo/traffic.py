"""What visitors do, from a seed: they look, fill carts, pay; some cards are declined, some
payments are slow, and one product is always short."""

import random

from service import ShopError

PRODUCTS = {"kettle": 39.0, "lantern": 24.5, "ribbon": 3.2, "flag": 12.0, "drum": 189.0}
SCARCE = "drum"
CARDS = {"visa": 0.02, "mastercard": 0.03, "amex": 0.15}


class Traffic:
    """Visits to a shop."""

    def __init__(self, shop, seed):
        self.shop = shop
        self.random = random.Random(seed)
        self.stock = {product: 200 for product in PRODUCTS}

    def pause(self):
        """Seconds until the next visit."""
        return self.random.expovariate(1.5)

    def visit(self, clock):
        """One visitor's request, with all that it sets off."""
        what = self.random.choices((self._look, self._fill_cart, self._check_out), (5, 3, 2))[0]
        user = f"u{self.random.randrange(200):03}"
        try:
            what(clock, user)
        except ShopError:
            # It is in the trace and in the logs; the visitor sees a sad page.
            pass

    def _ms(self, typical):
        """Durations have long tails."""
        return self.random.lognormvariate(0, 0.5) * typical

    def _look(self, clock, user):
        frontend, inventory = self.shop["frontend"], self.shop["inventory"]
        product = self.random.choice(list(PRODUCTS))
        with frontend.serve(clock, "GET", "/products/{id}", {}) as span:
            span.set_attributes({"enduser.id": user, "product.id": product})
            with frontend.call(clock, inventory, "GET", "/stock/{id}", self._ms(0.8)):
                clock.pass_ms(self._ms(2))
                inventory.log(clock, "DEBUG", f"stock of {product} is {self.stock[product]}")
            frontend.log(clock, "INFO", f"showed {product} to {user}", **{"enduser.id": user, "product.id": product})
            clock.pass_ms(self._ms(6))

    def _fill_cart(self, clock, user):
        frontend, cart = self.shop["frontend"], self.shop["cart"]
        product, count = self.random.choice(list(PRODUCTS)), self.random.randint(1, 4)
        with frontend.serve(clock, "POST", "/cart", {}) as span:
            span.set_attribute("enduser.id", user)
            with frontend.call(clock, cart, "POST", "/cart/{user}/items", self._ms(0.8)) as inner:
                inner.add_event("cart.changed", {"product.id": product, "count": count}, timestamp=clock.ns)
                with cart.span(clock, "SET", **{"db.system.name": "valkey", "db.operation.name": "SET"}):
                    clock.pass_ms(self._ms(1.5))
                cart.log(clock, "INFO", {"message": "item added", "product": product, "count": count})
            clock.pass_ms(self._ms(4))

    def _check_out(self, clock, user):
        frontend, checkout = self.shop["frontend"], self.shop["checkout"]
        order = f"o{self.random.randrange(10**8):08}"
        product, count = self.random.choice(list(PRODUCTS)), self.random.randint(1, 3)
        with frontend.serve(clock, "POST", "/checkout", {}) as span:
            span.set_attributes({"enduser.id": user, "order.id": order})
            with frontend.call(clock, checkout, "POST", "/orders", self._ms(1)) as inner:
                inner.set_attributes({"order.id": order, "order.items": count})
                checkout.log(clock, "INFO", f"order {order} of {count} {product}", **{"order.id": order})
                try:
                    self._reserve(clock, order, product, count)
                    self._charge(clock, order, PRODUCTS[product] * count)
                except ShopError as error:
                    checkout.log(clock, "ERROR", f"order {order} failed: {error}", **{"order.id": order})
                    raise
                shipping = self.shop["shipping"]
                with checkout.call(clock, shipping, "POST", "/parcels", self._ms(1)):
                    clock.pass_ms(self._ms(20))
                    shipping.log(clock, "INFO", f"parcel for {order}", **{"order.id": order})

    def _reserve(self, clock, order, product, count):
        checkout, inventory = self.shop["checkout"], self.shop["inventory"]
        with checkout.call(clock, inventory, "POST", "/reservations", self._ms(0.8)) as span:
            span.set_attributes({"product.id": product, "count": count})
            with inventory.span(clock, "UPDATE stock", **{"db.system.name": "postgresql"}):
                clock.pass_ms(self._ms(5))
            if product == SCARCE and self.random.random() < 0.4:
                inventory.log(clock, "WARN", f"{product} is out of stock", **{"product.id": product})
                raise ShopError(f"{product} is out of stock")
            self.stock[product] = self.stock[product] - count if self.stock[product] > count else 200
            inventory.stock.set(self.stock[product], {"product.id": product})

    def _charge(self, clock, order, amount):
        checkout, payment = self.shop["checkout"], self.shop["payment"]
        card = self.random.choice(list(CARDS))
        with checkout.call(clock, payment, "POST", "/charges", self._ms(1)) as span:
            span.set_attributes({"payment.card": card, "payment.amount": amount, "order.id": order})
            if self.random.random() < 0.06:
                # The bank takes its time, and the first try is given up.
                payment.log(clock, "WARN", "the bank is slow, trying again", **{"order.id": order, "attempt": 1})
                span.add_event("retry", {"attempt": 1}, timestamp=clock.ns)
                clock.pass_ms(2_000 + self._ms(400))
            clock.pass_ms(self._ms(60))
            if self.random.random() < CARDS[card]:
                payment.log(clock, "ERROR", f"card declined: {card}", **{"order.id": order, "payment.card": card})
                raise ShopError(f"card declined: {card}")
            payment.revenue.add(amount, {"payment.card": card})
            payment.log(clock, "INFO", f"charged {amount:.2f} EUR", **{"order.id": order, "payment.card": card})
